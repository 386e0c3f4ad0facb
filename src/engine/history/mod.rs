//! What the engine makes of several runs: compares two of them, judges each against the history of its profile. Reads series in pieces,
//! so that no run stands in memory as a whole. The arithmetic is in `analysis::comparison` and `analysis::regression`.

pub mod compare;
pub mod historian;
pub mod nights;
