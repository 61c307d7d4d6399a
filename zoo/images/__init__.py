"""Images: decoding, headers, preprocessing, drawing."""
