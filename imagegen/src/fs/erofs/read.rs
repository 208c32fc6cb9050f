//! Reads an EROFS image.
