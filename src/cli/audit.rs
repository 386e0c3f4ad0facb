//! `plimsoll audit`: who did what to the daemon, from the database.

use super::terminal::say_line;
use super::{ConfigArguments, Exit, Outcome, load};
use crate::app;
use crate::model::audit::Deed;

/// Arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArguments {
    /// How many entries, the newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) async fn audit(arguments: AuditArguments) -> Outcome {
    let store = app::open_store(&load(&arguments.config.config)?).await?;
    let deeds = store.deeds(arguments.limit).await.map_err(anyhow::Error::from)?;
    if arguments.json {
        say_line!("{}", serde_json::json!({ "deeds": deeds }));
    } else if deeds.is_empty() {
        say_line!("nobody has done anything yet");
    }
    for deed in deeds.iter().filter(|_| !arguments.json) {
        say_line!("{}", line(deed));
    }
    Ok(Exit::Passed)
}

/// One entry on one line.
fn line(deed: &Deed) -> String {
    let mut text = format!("{}  {}  {}", deed.at, deed.by, deed.what);
    for part in [&deed.object, &deed.detail].into_iter().filter(|part| !part.is_empty()) {
        text.push_str(&format!("  {part}"));
    }
    if let Some(why) = &deed.refused {
        text.push_str(&format!("  refused: {why}"));
    }
    // Somebody's comment may hold anything.
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::audit::DeedKind;
    use crate::model::units::Timestamp;

    #[test]
    fn an_entry_is_one_line_whatever_it_says() {
        let mut deed = Deed {
            at: Timestamp::parse("2026-11-21T02:00:00Z").unwrap(),
            by: "ann (api token ci)".into(),
            what: DeedKind::SilenceAdd,
            object: "1a2b3c4d".into(),
            detail: "team=\"shop\": deploy\nof \u{1b}[31mred".into(),
            refused: None,
        };
        assert_eq!(line(&deed), "2026-11-21T02:00:00.000Z  ann (api token ci)  silence.add  1a2b3c4d  team=\"shop\": deploy of  [31mred");
        (deed.detail, deed.refused) = (String::new(), Some("it is in the past".into()));
        assert_eq!(line(&deed), "2026-11-21T02:00:00.000Z  ann (api token ci)  silence.add  1a2b3c4d  refused: it is in the past");
    }
}
