//! Reads what `if` and `while` ask: `${plan} == pro`, `${n} < 5 and not ${done}`, `${next}`.
//!
//! ```text
//! any        = all { "or" all }
//! all        = not { "and" not }
//! not        = "not" not | comparison
//! comparison = "(" any ")" | operand [ operator operand ]
//! operator   = "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "matches"
//! operand    = words with placeholders, or a text in quotes
//! ```

use std::fmt;

use super::{Condition, Operator};
use crate::model::template::{Encoding, Template, TemplateError, closing};

impl Operator {
    /// All, those first that begin with another.
    const ALL: [Self; 8] =
        [Self::Equal, Self::NotEqual, Self::AtMost, Self::Below, Self::AtLeast, Self::Above, Self::Contains, Self::Matches];

    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Above => ">",
            Self::AtLeast => ">=",
            Self::Contains => "contains",
            Self::Matches => "matches",
        }
    }

    /// The operator that a text such as `>= 5` or `contains abc` begins with, and what follows it, trimmed.
    pub fn strip(text: &str) -> Option<(Self, &str)> {
        let text = text.trim();
        Self::ALL.into_iter().find_map(|operator| {
            let rest = text.strip_prefix(operator.as_str())?;
            let ends = !operator.is_word() || rest.is_empty() || rest.starts_with(char::is_whitespace);
            ends.then_some((operator, rest.trim()))
        })
    }

    fn is_word(self) -> bool {
        matches!(self, Self::Contains | Self::Matches)
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Condition {
    /// Reads a condition.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut reader = Reader { text, tokens: tokens(text)?, next: 0 };
        let condition = reader.any()?;
        match reader.peek() {
            None => Ok(condition),
            Some(token) => Err(reader.fail(token.at, "something stands behind the condition", "join conditions with `and` or `or`")),
        }
    }

    /// The templates in it, from left to right.
    pub fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Compare(left, _, right) => vec![left, right],
            Self::Truthy(value) => vec![value],
            Self::Not(inner) => inner.templates(),
            Self::All(list) | Self::Any(list) => list.iter().flat_map(Self::templates).collect(),
        }
    }
}

/// As it could have been written.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, list: &[Self], word: &str| {
            for (index, inner) in list.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match inner {
                    Self::All(_) | Self::Any(_) => write!(f, "({inner})")?,
                    Self::Compare(..) | Self::Truthy(_) | Self::Not(_) => write!(f, "{inner}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Compare(left, operator, right) => write!(f, "{} {operator} {}", quoted(left), quoted(right)),
            Self::Truthy(value) => f.write_str(&quoted(value)),
            Self::Not(inner) => match **inner {
                Self::All(_) | Self::Any(_) => write!(f, "not ({inner})"),
                Self::Compare(..) | Self::Truthy(_) | Self::Not(_) => write!(f, "not {inner}"),
            },
            Self::All(all) => list(f, all, "and"),
            Self::Any(any) => list(f, any, "or"),
        }
    }
}

fn quoted(operand: &Template) -> String {
    let source = operand.source();
    let bare = !source.is_empty() && tokens(&source).is_ok_and(|tokens| matches!(tokens[..], [Token { kind: Kind::Operand(_), .. }]));
    if bare {
        return source;
    }
    let quote = if source.contains('\'') { '"' } else { '\'' };
    format!("{quote}{source}{quote}")
}

#[derive(Debug, Clone)]
struct Token {
    at: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Open,
    Close,
    Not,
    And,
    Or,
    Operator(Operator),
    Operand(Template),
}

/// Cuts the text into tokens; operands are read as templates.
fn tokens(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let symbol = Operator::ALL.into_iter().find(|operator| !operator.is_word() && rest.starts_with(operator.as_str()));
        let (kind, length) = match (first, symbol) {
            (c, _) if c.is_whitespace() => {
                at += c.len_utf8();
                continue;
            }
            ('(', _) => (Kind::Open, 1),
            (')', _) => (Kind::Close, 1),
            (_, Some(operator)) => (Kind::Operator(operator), operator.as_str().len()),
            ('=' | '!', _) => {
                return Err(TemplateError::new(text, at, format!("`{first}` is no comparison"), "write `==`, `!=` or `not`"));
            }
            ('"' | '\'', _) => {
                let Some(length) = rest[1..].find(first) else {
                    return Err(TemplateError::new(text, at, "a quoted text is not closed", format!("add `{first}`")));
                };
                (Kind::Operand(operand(text, at + 1, &rest[1..=length])?), length + 2)
            }
            _ => {
                let length = word(rest);
                (keyword(&rest[..length]).map_or_else(|| operand(text, at, &rest[..length]).map(Kind::Operand), Ok)?, length)
            }
        };
        tokens.push(Token { at, kind });
        at += length;
    }
    Ok(tokens)
}

/// Length of the word that a text begins with; placeholders in it may hold anything.
fn word(text: &str) -> usize {
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if text[at..].starts_with("${") && !text[..at].ends_with('$') {
            // One that is not closed is refused when the operand is read.
            at += closing(&text[at + 2..]).map_or(text.len() - at, |length| length + 3);
        } else if c.is_whitespace() || matches!(c, '(' | ')' | '=' | '!' | '<' | '>' | '"' | '\'') {
            break;
        } else {
            at += c.len_utf8();
        }
    }
    at
}

fn keyword(word: &str) -> Option<Kind> {
    match word {
        "not" => Some(Kind::Not),
        "and" => Some(Kind::And),
        "or" => Some(Kind::Or),
        "contains" => Some(Kind::Operator(Operator::Contains)),
        "matches" => Some(Kind::Operator(Operator::Matches)),
        _ => None,
    }
}

fn operand(text: &str, at: usize, part: &str) -> Result<Template, TemplateError> {
    Template::parse(part, Encoding::Plain).map_err(|error| TemplateError { text: text.into(), at: at + error.at, ..error })
}

struct Reader<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    next: usize,
}

type Parsed<T> = Result<T, TemplateError>;

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn eat(&mut self, wanted: impl Fn(&Kind) -> bool) -> bool {
        let found = self.peek().is_some_and(|token| wanted(&token.kind));
        self.next += usize::from(found);
        found
    }

    fn fail(&self, at: usize, message: &str, hint: &str) -> TemplateError {
        TemplateError::new(self.text, at, message, hint)
    }

    fn any(&mut self) -> Parsed<Condition> {
        let mut list = vec![self.all()?];
        while self.eat(|kind| matches!(kind, Kind::Or)) {
            list.push(self.all()?);
        }
        Ok(only(&mut list).unwrap_or(Condition::Any(list)))
    }

    fn all(&mut self) -> Parsed<Condition> {
        let mut list = vec![self.not()?];
        while self.eat(|kind| matches!(kind, Kind::And)) {
            list.push(self.not()?);
        }
        Ok(only(&mut list).unwrap_or(Condition::All(list)))
    }

    fn not(&mut self) -> Parsed<Condition> {
        let mut opposite = false;
        while self.eat(|kind| matches!(kind, Kind::Not)) {
            opposite = !opposite;
        }
        let condition = self.comparison()?;
        Ok(if opposite { Condition::Not(Box::new(condition)) } else { condition })
    }

    fn comparison(&mut self) -> Parsed<Condition> {
        if self.eat(|kind| matches!(kind, Kind::Open)) {
            let inner = self.any()?;
            if !self.eat(|kind| matches!(kind, Kind::Close)) {
                let at = self.peek().map_or(self.text.len(), |token| token.at);
                return Err(self.fail(at, "a `(` is not closed", "add `)`, or put quotes around a text with brackets"));
            }
            return Ok(inner);
        }
        let (left, _) = self.operand()?;
        let Some(Token { kind: Kind::Operator(operator), .. }) = self.peek() else { return Ok(Condition::Truthy(left)) };
        let operator = *operator;
        self.next += 1;
        let (right, at) = self.operand()?;
        if operator == Operator::Matches {
            let Some(pattern) = right.constant() else {
                return Err(self.fail(at, "a regular expression cannot hold a placeholder", "write it out, or use `contains`"));
            };
            if let Err(error) = regex::Regex::new(pattern) {
                let message = format!("this is not a regular expression: {error}");
                return Err(self.fail(at, &message, "put quotes around it, and a `\\` before what is meant literally"));
            }
        }
        Ok(Condition::Compare(left, operator, right))
    }

    fn operand(&mut self) -> Parsed<(Template, usize)> {
        let hint = "write a condition such as `${plan} == pro` or `not ${done}`; put quotes around a text with spaces or brackets";
        match self.peek() {
            Some(Token { kind: Kind::Operand(template), at }) => {
                let found = (template.clone(), *at);
                self.next += 1;
                Ok(found)
            }
            Some(token) => Err(self.fail(token.at, "a value is missing here", hint)),
            None => Err(self.fail(self.text.len(), "a value is missing at the end", hint)),
        }
    }
}

fn only(list: &mut Vec<Condition>) -> Option<Condition> {
    if list.len() == 1 { list.pop() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_can_be_asked() {
        for (text, shown) in [
            ("${next}", "${next}"),
            ("not ${x}", "not ${x}"),
            ("not not ${x}", "${x}"),
            ("${plan} == pro", "${plan} == pro"),
            ("${n}<5", "${n} < 5"),
            ("${n} <= 5 and ${m} >= ${n}", "${n} <= 5 and ${m} >= ${n}"),
            ("${a} or ${b} and not ${c} != 1", "${a} or (${b} and not ${c} != 1)"),
            ("(${a} or ${b}) and ${c}", "(${a} or ${b}) and ${c}"),
            ("${a} contains 'two words'", "${a} contains 'two words'"),
            ("${a} matches \"^(x|y)$\"", "${a} matches '^(x|y)$'"),
            ("user-${vu} == ${name}", "user-${vu} == ${name}"),
            ("${rand.choice('a b', '<')} == ''", "${rand.choice('a b', '<')} == ''"),
            ("${text} == \"it's $${x}\"", "${text} == \"it's $${x}\""),
            ("${a} == 'and'", "${a} == 'and'"),
            ("not (${a} and ${b})", "not (${a} and ${b})"),
        ] {
            let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.to_string(), shown, "{text}");
            assert_eq!(Condition::parse(&condition.to_string()).unwrap(), condition, "{text}");
        }
        assert_eq!(Condition::parse("${a} == ${b.c} or ${d}").unwrap().templates().len(), 3);
    }

    #[test]
    fn refusals_say_where() {
        for (text, at, message) in [
            ("", 0, "a value is missing at the end"),
            ("${a} ==", 7, "a value is missing at the end"),
            ("${a} = 5", 5, "`=` is no comparison"),
            ("== 5", 0, "a value is missing here"),
            ("${a} == 5 6", 10, "something stands behind the condition"),
            ("(${a} == 5", 10, "a `(` is not closed"),
            ("${a} == 'x", 8, "a quoted text is not closed"),
            ("${a} == x and ${b", 14, "a `${` is not closed"),
            ("${a} matches ${b}", 13, "a regular expression cannot hold a placeholder"),
            ("${a} == pro and ${no such}", 16, "`${no such}` is no name"),
        ] {
            let error = Condition::parse(text).unwrap_err();
            assert_eq!((error.at, error.message.as_str()), (at, message), "{text}");
            assert_eq!(error.text, text);
        }
        assert!(Condition::parse("${a} matches '['").unwrap_err().message.starts_with("this is not a regular expression"));
    }

    #[test]
    fn operators_are_read_off_a_text() {
        for (text, operator, rest) in
            [("< 5", Operator::Below, "5"), (">=5", Operator::AtLeast, "5"), ("contains  a b", Operator::Contains, "a b")]
        {
            assert_eq!(Operator::strip(text), Some((operator, rest)));
        }
        assert_eq!(Operator::strip("containsx"), None);
        assert_eq!(Operator::strip("5"), None);
    }
}
