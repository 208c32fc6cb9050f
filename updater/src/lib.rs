//! The update core without I/O: layout, slots, boot state, release index, decisions.
