//! The load that the real program sends, against servers that behave and servers that do not: no false green, one reason per failure,
//! true response times, exact starts, kept books. What the numbers mean: docs/methods.md.

mod asker;
mod bodies;
mod climb;
mod connections;
mod endings;
mod failures;
mod flows;
mod green;
mod grpc;
mod grpc_demo;
mod grpc_failures;
mod grpc_misfits;
mod grpc_reflection;
mod http2;
mod http2_setup;
mod iterations;
mod misfits;
mod notepad;
mod order;
mod program;
mod pushes;
mod redirects;
mod replay;
mod stall;
mod tls;
mod tokens;
mod websocket;
mod websocket_misfits;
mod websocket_parting;
