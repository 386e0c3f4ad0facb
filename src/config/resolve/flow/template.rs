//! Templates and conditions of a flow: read, and the names in them looked up, each mistake shown where it stands in the file.

use super::Scope;
use super::names::Names;
use crate::config::raw::text::{Fillable, placeholder};
use crate::config::resolve::Resolver;
use crate::model::flow::Condition;
use crate::model::template::{Encoding, Template, TemplateError};
use crate::registry::{Named, Node, Span, Spanned, Value};

impl Resolver<'_> {
    /// A text that is filled in.
    pub(super) fn fill(&mut self, text: &Spanned<Fillable>, encoding: Encoding, scope: &Scope<'_>) -> Option<Template> {
        let template = self.template(&text.value.0, text.span, encoding)?;
        self.names_of([&template], &text.value.0, text.span, &scope.names).then_some(template)
    }

    /// A text that is filled in, without a look at the names in it.
    pub(in crate::config::resolve) fn template(&mut self, text: &str, span: Span, encoding: Encoding) -> Option<Template> {
        Template::parse(text, encoding).map_err(|error| self.refuse_template(text, span, &error)).ok()
    }

    /// A condition of `if` or `while`.
    pub(super) fn flow_condition(&mut self, text: &Spanned<Fillable>, scope: &Scope<'_>) -> Option<Condition> {
        let source = &text.value.0;
        match Condition::parse(source) {
            Ok(condition) => self.names_of(condition.templates(), source, text.span, &scope.names).then_some(condition),
            Err(error) => {
                let place = self.within(text.span, source, error.at, source.len() - error.at);
                self.mistake("bad-condition", place, format!("`{source}` is not a condition: {}", error.message), error.hint);
                None
            }
        }
    }

    /// A document whose texts are filled in.
    pub(super) fn document(&mut self, node: &Node, scope: &Scope<'_>) -> Option<Template> {
        self.texts_of(node, scope).then_some(())?;
        let document = node.to_json();
        Template::of_json(&document).map_err(|error| self.refuse_template(&error.text, node.span, &error)).ok()
    }

    /// Looks at every text of a document, so that a mistake is shown at the text and not at the document.
    pub(super) fn texts_of(&mut self, node: &Node, scope: &Scope<'_>) -> bool {
        match &node.value {
            Value::Null | Value::Bool(_) | Value::Number(..) => true,
            Value::Text(text) => {
                let text = Spanned { value: Fillable(text.clone()), span: node.span };
                self.fill(&text, Encoding::Plain, scope).is_some()
            }
            Value::List(items) => items.iter().fold(true, |fine, item| self.texts_of(item, scope) & fine),
            Value::Map(entries) => entries.iter().fold(true, |fine, entry| {
                let fixed = placeholder(&entry.key).is_none();
                if !fixed {
                    let message = format!("the key `{}` cannot be filled in", entry.key);
                    self.mistake("bad-template", entry.span, message, "only values can; write `$${` for a literal `${`");
                }
                self.texts_of(&entry.node, scope) & fixed & fine
            }),
        }
    }

    /// Headers or metadata, by name.
    pub(super) fn headers(&mut self, given: &Named<Spanned<Fillable>>, scope: &Scope<'_>) -> Option<Vec<(String, Template)>> {
        let mut headers = Vec::new();
        let mut fine = true;
        for (name, value) in given.iter() {
            let template = self.fill(value, Encoding::Header, scope);
            let sendable = template.as_ref().is_none_or(sendable);
            if http::HeaderName::from_bytes(name.value.as_bytes()).is_err() || !sendable {
                self.mistake("bad-header", name.span, format!("`{}` is not a header that can be sent", name.value), "use visible ASCII");
                fine = false;
            }
            match template {
                Some(template) => headers.push((name.value.clone(), template)),
                None => fine = false,
            }
        }
        fine.then_some(headers)
    }

    /// Reports names in `templates`, all parts of `text`, that nothing sets.
    pub(in crate::config::resolve) fn names_of<'t>(
        &mut self,
        templates: impl IntoIterator<Item = &'t Template>,
        text: &str,
        span: Span,
        names: &Names,
    ) -> bool {
        let mut from = 0;
        let mut fine = true;
        for expression in templates.into_iter().flat_map(Template::references) {
            // References come in the order of the text.
            let at = text[from..].find(expression.source.as_str()).map_or(from, |found| from + found);
            from = (at + expression.source.len()).min(text.len());
            if let Err((message, hint)) = names.check(expression) {
                let place = self.within(span, text, at, expression.source.len());
                self.mistake("unknown-variable", place, message, hint);
                fine = false;
            }
        }
        fine
    }

    fn refuse_template(&mut self, text: &str, span: Span, error: &TemplateError) {
        let rest = &text[error.at.min(text.len())..];
        let length = if rest.starts_with("${") { rest.find('}').map_or(rest.len(), |end| end + 1) } else { 1 };
        let place = self.within(span, text, error.at, length);
        self.mistake("bad-template", place, error.message.clone(), error.hint.clone());
    }

    /// The place of so many bytes of a text; of the whole text when it was written otherwise than it reads.
    fn within(&self, span: Span, text: &str, at: usize, length: usize) -> Span {
        let characters = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
        self.sources.within(span, text, characters(text.get(..at)), characters(text.get(at..at + length)))
    }
}

/// True when the fixed parts of a header's value can be sent.
pub(in crate::config::resolve) fn sendable(value: &Template) -> bool {
    use crate::model::template::Part;
    value.parts().iter().all(|part| match part {
        Part::Text(text) => http::HeaderValue::from_str(text).is_ok(),
        Part::Value(..) => true,
    })
}
