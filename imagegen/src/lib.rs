//! Host tool: Debian packages to board images and signed releases.
