//! One integration binary: starts the real daemon and the real parts against real servers on free ports of 127.0.0.1.

mod analysis;
mod architecture;
mod bad_config;
mod cases;
mod cli;
mod control;
mod crash;
mod db;
mod delivery;
mod demo;
mod examples;
mod faults;
mod grafana;
mod history;
mod journey;
mod load;
mod muting;
mod notify;
mod probes;
mod scheduling;
mod server;
mod servers;
mod several;
mod spool;
mod store;
mod why;
