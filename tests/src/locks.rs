//! Boards that ask a lock service before they restart, and the services: for the test with etcd and for `make bench-fleet`.
//!
//! * [`boards`]: simulated boards, real HTTP
//! * [`page`]: the page of the service, in a browser
//! * [`servers`]: `hypriot-fleet serve`, and members of etcd

pub mod boards;
pub mod page;
pub mod servers;
