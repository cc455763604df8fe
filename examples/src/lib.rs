//! Nothing here: each file of this folder is an example.
