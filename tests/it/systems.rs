//! The findings that the five systems of config/examples call for, out of runs of the demo target with the fault switched on, and with it
//! switched off. What has to do with time is waited for or follows from how long the target holds a connection, never from the machine.

mod battery;
mod campaign;
mod ladder;
mod mailbox;
mod nightly;
mod soak;
mod spike;
mod watched;
