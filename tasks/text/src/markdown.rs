//! Markdown to HTML.

use celeriac_guest::{Bytes, Failure, task};
use pulldown_cmark::{Event, Options, Parser, html};
use schemars::JsonSchema;
use serde::Deserialize;

/// A document to convert.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Document {
    /// CommonMark, with tables, footnotes, strikethrough and task lists.
    markdown: String,
    /// Whether HTML inside the document stays as it is. Leave it off for text from strangers: HTML
    /// is then shown as text.
    #[serde(default)]
    allow_html: bool,
}

/// Converts Markdown to HTML. The input is JSON; the output is `text/html` as raw bytes.
#[task(name = "markdown-to-html", timeout = "10s", memory = "64MiB")]
pub fn markdown_to_html(input: Document) -> Result<Bytes, Failure> {
    let html = to_html(&input.markdown, input.allow_html);
    Ok(Bytes::new("text/html; charset=utf-8", html))
}

/// The same as a plain function.
pub fn to_html(markdown: &str, allow_html: bool) -> String {
    let extensions = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS;
    let events = Parser::new_ext(markdown, extensions).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) if !allow_html => Event::Text(text),
        event => event,
    });
    let mut output = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut output, events);
    output
}

#[cfg(test)]
mod tests {
    use celeriac_guest::{Payload, testing};
    use serde_json::json;

    use super::*;

    #[test]
    fn renders_tables_and_emphasis() {
        let html = to_html("# Hi\n\n|a|b|\n|-|-|\n|1|*2*|\n", false);
        assert!(html.contains("<h1>Hi</h1>"), "{html}");
        assert!(html.contains("<td><em>2</em></td>"), "{html}");
    }

    #[test]
    fn shows_foreign_html_as_text_unless_allowed() {
        let script = "<script>alert(1)</script>";
        assert!(!to_html(script, false).contains("<script>"));
        assert!(to_html(script, true).contains("<script>"));
    }

    #[test]
    fn answers_with_html_bytes() {
        let output = testing::run("markdown-to-html", json!({ "markdown": "*x*" })).unwrap();
        let expected = Bytes::new("text/html; charset=utf-8", "<p><em>x</em></p>\n");
        assert_eq!(output, Payload::Bytes(expected));
    }
}
