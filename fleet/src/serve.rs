//! The lock service: FleetLock over HTTP, for boards that ask before they restart into an update.
//!
//! * [`desk`]: one task that holds the books: batches of requests are judged, written to the store, and answered then
//! * [`clock`]: time that does not jump
//! * [`api`]: requests and answers over HTTP; `guard` is what is refused before it is looked at
//! * [`listen`]: connections and their limits
//! * [`view`]: what the cluster looks like, for the page and for programs; `metrics` and `sd` for Prometheus
//! * [`page`]: the page's files
//! * [`token`]: the operator's secret

pub mod api;
pub mod clock;
pub mod desk;
mod guard;
pub mod listen;
mod metrics;
mod page;
mod sd;
pub mod token;
pub mod view;
