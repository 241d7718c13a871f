"""nlift: English NLI data in, a search engine for your domain in your language out."""

__version__ = "0.1.0"
