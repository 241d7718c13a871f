"""How the embedded models and data were made: one file each; `build` has the settings they shipped with."""
