//! Real servers for tests. To be built.
