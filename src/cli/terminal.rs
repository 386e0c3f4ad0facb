//! Writes to the terminal. Whoever reads may go away at any time (`plimsoll runs | head`); that is no reason to end a run or to fail,
//! and nobody is left to be told. The macros take what `format_args!` takes.

use std::fmt::Arguments;
use std::io::Write;

/// Writes to standard output, and shows it at once.
pub(super) fn print(text: Arguments<'_>, end: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_fmt(text).and_then(|()| stdout.write_all(end.as_bytes())).and_then(|()| stdout.flush());
}

/// Writes to standard error.
pub(super) fn complain(text: Arguments<'_>, end: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_fmt(text).and_then(|()| stderr.write_all(end.as_bytes()));
}

/// A line on standard output.
macro_rules! say_line {
    ($($text:tt)*) => { $crate::cli::terminal::print(format_args!($($text)*), "\n") };
}

/// Text on standard output, without a line end.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::terminal::print(format_args!($($text)*), "") };
}

/// A line on standard error.
macro_rules! warn_line {
    ($($text:tt)*) => { $crate::cli::terminal::complain(format_args!($($text)*), "\n") };
}

pub(super) use {say, say_line, warn_line};
