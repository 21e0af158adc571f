"""Behind the verbs: plain functions over the wiring, one file per noun, for library, commands and routes alike."""
