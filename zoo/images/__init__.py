"""Pictures: decoding, headers, preprocessing, drawing."""
