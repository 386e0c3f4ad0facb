//! Messages in the user's own words: templates in Jinja's language over the fields of a message. What does not compile, or names a field
//! that no message has, is refused when the configuration is read; what fails all the same falls back to the built-in words.

use std::fmt;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};
use serde_json::{Value as Json, json};

use super::render::{cut, one_line, state};
use crate::alert::example_message;
use crate::model::alerting::{Message, MessageKind};
use crate::model::units::Timestamp;
use crate::registry::suggest;

/// Steps that a template may take: far more than any message needs, and an end to a loop without one.
const FUEL: u64 = 200_000;
/// Longest text and HTML in bytes.
const MOST_BYTES: usize = 200_000;
/// Longest subject and headline in characters.
const SUBJECT_CHARS: usize = 140;
const HEADLINE_CHARS: usize = 1_000;
/// Fields that are the same for every message of an incident: only they may stand in a subject, or its thread would fall apart.
const FIXED: [&str; 7] = ["incident", "rule", "subject", "labels", "started_at", "run", "runbook"];
/// Fields that every message has; those that have nothing to say are `none`.
const FIELDS: [&str; 18] = [
    "incident",
    "kind",
    "state",
    "seq",
    "severity",
    "rule",
    "subject",
    "headline",
    "lines",
    "labels",
    "started_at",
    "at",
    "ended_at",
    "link",
    "runbook",
    "run",
    "alerts",
    "facts",
];
/// What Jinja itself knows.
const BUILT_IN: [&str; 4] = ["range", "dict", "debug", "namespace"];

/// A part of a message that a template can write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The one line that is the same for the whole incident.
    Subject,
    /// What a person reads first.
    Headline,
    /// The lines below it, as plain text.
    Text,
    /// The same as HTML; values are escaped.
    Html,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Subject, Self::Headline, Self::Text, Self::Html];

    /// The key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Headline => "headline",
            Self::Text => "text",
            Self::Html => "html",
        }
    }

    /// By its ending Jinja knows what to escape.
    fn file(self) -> &'static str {
        match self {
            Self::Subject => "subject.txt",
            Self::Headline => "headline.txt",
            Self::Text => "text.txt",
            Self::Html => "html.html",
        }
    }
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateMistake {
    /// Which part.
    pub part: Part,
    /// Line of the template, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

/// What a template wrote beside subject and headline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Plain text below the headline.
    pub text: Option<String>,
    /// HTML document.
    pub html: Option<String>,
}

/// Templates for the messages of a channel, compiled.
#[derive(Clone)]
pub struct MessageTemplate {
    name: String,
    environment: Environment<'static>,
    parts: Vec<Part>,
}

impl fmt::Debug for MessageTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageTemplate").field("name", &self.name).field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl MessageTemplate {
    /// Compiles the parts and tries them on an example of every kind of message.
    pub fn new(name: &str, parts: &[(Part, &str)]) -> Result<Self, TemplateMistake> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        for (part, source) in parts {
            environment.add_template_owned(part.file(), (*source).to_owned()).map_err(|error| TemplateMistake {
                part: *part,
                line: error.line(),
                message: format!("the template does not compile: {}", plain(&error)),
                hint: "templates are written as in Jinja: `{{ rule }}`, `{% if link %}…{% endif %}`".into(),
            })?;
        }
        let template = Self { name: name.to_owned(), environment, parts: parts.iter().map(|(part, _)| *part).collect() };
        for part in &template.parts {
            template.check_fields(*part)?;
            template.try_out(*part)?;
        }
        Ok(template)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The message in these words. `Err`: why it could not be written.
    pub fn apply(&self, message: &Message) -> Result<(Message, Words), String> {
        let fields = Value::from(Serde(fields(message)));
        let (mut message, mut words) = (message.clone(), Words::default());
        for part in &self.parts {
            let written = self.render(*part, &fields).map_err(|error| format!("{}: {}", part.key(), plain(&error)))?;
            let written = written.trim();
            if written.is_empty() {
                return Err(format!("{}: nothing is left of it", part.key()));
            }
            if written.len() > MOST_BYTES {
                return Err(format!("{}: it would be longer than {MOST_BYTES} bytes", part.key()));
            }
            match part {
                Part::Subject => message.subject = cut(&one_line(written), SUBJECT_CHARS),
                Part::Headline => message.headline = cut(&one_line(written), HEADLINE_CHARS),
                Part::Text => words.text = Some(written.to_owned()),
                Part::Html => words.html = Some(written.to_owned()),
            }
        }
        Ok((message, words))
    }

    /// The same, or the built-in words with a line that says why.
    pub fn apply_or_say(&self, message: &Message) -> (Message, Words) {
        self.apply(message).unwrap_or_else(|why| {
            tracing::warn!(
                template = self.name,
                incident = message.incident,
                why,
                "a template could not be filled in; the built-in words are sent"
            );
            let mut message = message.clone();
            // Page and runbook come behind the lines, and there are ten at most.
            message.lines.truncate(7);
            message
                .lines
                .push(("Template".into(), format!("`{}` could not be filled in ({why}); these are the built-in words", self.name)));
            (message, Words::default())
        })
    }

    fn render(&self, part: Part, fields: &Value) -> Result<String, minijinja::Error> {
        self.environment.get_template(part.file())?.render(fields.clone())
    }

    /// Every name at the top must be a field; below `labels` there may be any.
    fn check_fields(&self, part: Part) -> Result<(), TemplateMistake> {
        let Ok(template) = self.environment.get_template(part.file()) else { return Ok(()) };
        let mut names: Vec<String> = template.undeclared_variables(true).into_iter().collect();
        names.sort_unstable();
        for name in names {
            let top = name.split('.').next().unwrap_or_default();
            let line = template.source().lines().position(|line| line.contains(top)).map(|index| index + 1);
            let mistake = |message, hint| TemplateMistake { part, line, message, hint };
            if !FIELDS.contains(&top) && !BUILT_IN.contains(&top) {
                return Err(mistake(format!("no message has a field `{top}`"), suggest(top, FIELDS)));
            }
            if part == Part::Subject && !FIXED.contains(&top) && !BUILT_IN.contains(&top) {
                let hint = format!("the subject holds a thread together: it may use {}", FIXED.join(", "));
                return Err(mistake(format!("`{top}` is not the same for all messages of an incident"), hint));
            }
        }
        Ok(())
    }

    /// Fills it in with an example of every kind. A label that the examples lack is no mistake: alerts have their own.
    fn try_out(&self, part: Part) -> Result<(), TemplateMistake> {
        for kind in MessageKind::ALL {
            let example = example_message(*kind, Timestamp(0));
            let Err(error) = self.render(part, &Value::from(Serde(fields(&example)))) else { continue };
            let uses_labels = self.environment.get_template(part.file()).is_ok_and(|template| template.source().contains("labels"));
            if error.kind() == ErrorKind::UndefinedError && uses_labels {
                continue;
            }
            let hint = "what a message may lack is `none`: write `{% if link %}{{ link }}{% endif %}`".to_owned();
            return Err(TemplateMistake {
                part,
                line: error.line(),
                message: format!("a message of the kind `{kind}` cannot be written: {}", plain(&error)),
                hint,
            });
        }
        Ok(())
    }
}

/// What templates can use.
fn fields(message: &Message) -> Json {
    let mut fields = serde_json::to_value(message).unwrap_or_default();
    // What serde leaves out is `none`, not unknown.
    for (key, absent) in [("run", Json::Null), ("alerts", json!([]))] {
        if fields.get(key).is_none() {
            fields[key] = absent;
        }
    }
    let pairs = |(key, value): &(String, String)| json!({"key": key, "value": value});
    fields["lines"] = message.lines.iter().map(pairs).collect();
    // The same by key: `{{ facts.Value }}` is strict, `{{ facts["Likely cause"] or "" }}` is not possible: use `lines` for what may lack.
    fields["facts"] = message.lines.iter().cloned().collect::<std::collections::BTreeMap<String, String>>().into_iter().collect();
    fields["state"] = json!(state(message.kind));
    fields
}

/// The words of the error without the place, which is told beside.
fn plain(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("{}{line}", one_line(&detail))
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::sample;
    use super::*;

    fn template(part: Part, source: &str) -> Result<MessageTemplate, TemplateMistake> {
        MessageTemplate::new("short", &[(part, source)])
    }

    #[test]
    fn a_message_in_other_words() {
        let parts = [
            (Part::Subject, "[{{ labels.target }}] {{ rule }}"),
            (Part::Headline, "{{ state | upper }} {{ headline }}"),
            (Part::Text, "{% for line in lines %}{{ line.key }} = {{ line.value }}\n{% endfor %}{% if link %}{{ link }}{% endif %}"),
            (Part::Html, "<b>{{ headline }}</b>"),
        ];
        let (message, words) = MessageTemplate::new("short", &parts).unwrap().apply(&sample(MessageKind::Fired).message).unwrap();
        assert_eq!(message.subject, "[shöp] pool-nearly-full");
        assert!(message.headline.starts_with("FIRING fired: pool_utilization"));
        assert!(words.text.unwrap().starts_with("Value = 100 %\nLimit = > 80 % for 10s, until < 70 %\n"));
        assert_eq!(words.html.as_deref(), Some("<b>fired: pool_utilization max 100 % &gt; 80 % for 12s &amp; &lt;more&gt;</b>"));
    }

    #[test]
    fn what_cannot_be_filled_in_is_found_before_it_is_needed() {
        for (part, source, line, says) in [
            (Part::Text, "one\n{{ rule", Some(2), "does not compile"),
            (Part::Text, "{% if link %}", Some(1), "does not compile"),
            (Part::Text, "{{ rule | shout }}", Some(1), "shout"),
            (Part::Text, "one\n{{ severty }}", Some(2), "no message has a field `severty`"),
            (Part::Text, "{{ rule.name.first }}", Some(1), "cannot be written"),
            (Part::Subject, "{{ rule }} is {{ state }}", Some(1), "is not the same for all messages"),
        ] {
            let mistake = template(part, source).unwrap_err();
            assert!(mistake.message.contains(says), "{source}: {mistake:?}");
            assert_eq!(mistake.line, line, "{source}: {mistake:?}");
        }
        assert_eq!(template(Part::Text, "{{ severty }}").unwrap_err().hint, "did you mean `severity`?");
    }

    #[test]
    fn a_template_that_fails_says_so_in_the_built_in_words() {
        let message = sample(MessageKind::Fired).message;
        for (source, why) in [("{{ labels.team }}", "undefined"), ("{% if kind == 'fired' %}{% else %}x{% endif %}", "nothing is left")] {
            let template = template(Part::Text, source).unwrap();
            let error = template.apply(&message).unwrap_err();
            assert!(error.contains(why), "{error}");
            let (said, words) = template.apply_or_say(&message);
            assert_eq!((said.headline == message.headline, words), (true, Words::default()));
            let (key, value) = said.lines.last().unwrap();
            assert_eq!(key, "Template");
            assert!(value.starts_with("`short` could not be filled in (text: ") && said.lines.len() <= 8, "{value}");
        }
    }

    #[test]
    fn no_template_runs_for_ever_and_no_value_adds_a_line_to_a_subject() {
        let endless = template(Part::Text, "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}");
        assert!(endless.unwrap_err().message.contains("cannot be written"));
        let mut message = sample(MessageKind::Fired).message;
        message.rule = "x\r\nBcc: evil@example.org".into();
        let (message, _) = template(Part::Subject, "{{ rule }}").unwrap().apply(&message).unwrap();
        assert!(!message.subject.contains(['\r', '\n']));
    }
}
