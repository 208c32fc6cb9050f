//! Host tool: many boards at once.
