//! What configurations become, and that the files made from the declarations are fresh. One mistake a file: tests/it/bad_config.

mod fakes;
mod files;
mod loading;

use fakes::kinds;
