//! What configurations become, and that the files made from the declarations are fresh. One mistake a file: tests/it/bad_config.

mod files;
mod flows;
mod loading;

fn kinds() -> crate::config::Kinds {
    crate::config::Kinds { probes: crate::probe::KINDS, channels: crate::notify::KINDS }
}
