"""Models in repositories of the Hugging Face Hub, which are named hf:OWNER/NAME or hf:OWNER/NAME@REVISION."""
