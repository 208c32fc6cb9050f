//! Host tool: many boards at once.
//!
//! * [`cli`]: parses and prints
//! * [`hosts`]: which boards
//! * [`discover`]: which boards announce themselves in the local network
//! * [`inventory`]: which boards, as Ansible knows them
//! * [`ask`]: one question to one board, bounded in time and size; all boards side by side
//! * [`answer`]: what a board's answer means; a board that says nothing is a state of its own
//! * [`lock`]: the pure core of the lock service: who may be out, decided from values
//! * [`store`]: where the lock service keeps its log: a file, or etcd
//! * [`serve`]: the lock service: FleetLock over HTTP, the page, metrics, discovery
//! * [`rollout`]: the pure core of an update of many boards: what is decided, never done
//! * [`run`]: a rollout that goes on: the journal on disk, the boards in the network, the loop between them
//! * [`ssh`]: orders over the owner's own ssh; [`exec`] starts it
//! * [`table`]: answers for people
//! * [`validate`]: whether boards have tested themselves, and how that went

pub mod answer;
pub mod ask;
pub mod cli;
pub mod discover;
pub mod exec;
pub mod hosts;
pub mod inventory;
pub mod lock;
pub mod rollout;
pub mod run;
pub mod serve;
pub mod ssh;
pub mod store;
pub mod table;
pub mod validate;
