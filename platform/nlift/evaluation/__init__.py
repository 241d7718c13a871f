"""What encoders, translators and COMET are measured on and by."""
