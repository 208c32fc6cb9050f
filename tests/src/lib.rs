//! Virtual boards, power cuts, attacks, fidelity and tidiness of the workspace.
//!
//! * `exec`: processes that never outlive us
//! * `boards`: `make test-boards`, every board's image
//! * `board`: a virtual board that is switched on, asked, and unplugged; `access` lets the tests in, `clock` sets its time
//! * `serve`: a file server for releases, which can be told to misbehave
//! * `families`: what became of the old assertions
//! * `glance`: the answers of the agent over HTTP, and its page; `browser`: a page as people see it
//! * `http`, `health`: ask a board, as curl would
//! * `scratch`: files and folders of one run
//! * `loop_board`: the agent's own program on a card in a file
//! * `native`: real agents without virtual machines, and a fleet's way to them
//! * `locks`: boards that ask a lock service, and the services: hypriot-fleet, etcd
//! * `factory`: makes agent, keys, image and releases with the programs a maintainer uses
//! * `owner`: a recipe that says everything, and what it names
//! * `archive`: packages for a running board, and where they are served
//! * `steps`: the language of scenarios; `stage` plays them, `narrate` tells what happens
//! * `network`: boards on a bridge, in network namespaces
//! * `cluster`: several boards side by side, and what hypriot-fleet does with them
//! * `fuzz`: what fuzzers are let loose on
//! * `faults`: what is done to a card, and the cells of the fault matrix on a virtual board; `cells` plays them
//! * `old_agent`: `make test-old-agent`, an older program over the same data
//! * `peers`: programs of others that ours are judged by
//! * `demo`: `make demo`
//! * `bench`: `make bench-…`
//! * `suite`: `make test`, every test and where the time went
//! * `papers`: what pages say that the code knows better, and whether all of it is true; `workflows`: judges those of CI;
//!   `monitoring`: judges alerts and dashboard

pub mod access;
pub mod archive;
pub mod bench;
pub mod board;
pub mod boards;
pub mod browser;
pub mod cells;
pub mod clock;
pub mod cluster;
pub mod demo;
pub mod exec;
pub mod factory;
pub mod families;
pub mod faults;
pub mod fuzz;
pub mod glance;
pub mod health;
pub mod http;
pub mod locks;
pub mod loop_board;
pub mod monitoring;
pub mod narrate;
pub mod native;
pub mod network;
pub mod old_agent;
pub mod owner;
pub mod papers;
pub mod peers;
pub mod scratch;
pub mod serve;
pub mod stage;
pub mod steps;
pub mod suite;
pub mod workflows;
