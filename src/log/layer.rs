//! A tracing layer that prints the message of an event and nothing else, or passes the event to the
//! journal.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use super::{journal, sink};

/// Prints the tracing events of this process on standard error, a line each: those of `level` and those that
/// are more important. With `DEBUG` and `TRACE`, fields follow the message: ` generation=2 pid=123`.
///
/// For programs without a tracing subscriber. A second call does nothing.
pub fn init(level: LevelFilter) {
    let lines = Lines {
        fields: level >= LevelFilter::DEBUG,
    };
    let subscriber = Registry::default().with(lines.with_filter(level));
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Lines {
    /// Whether structured fields are shown.
    fields: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(journal) = journal::listening() {
            return journal.on_event(event, context);
        }
        let mut line = Line::default();
        event.record(&mut line);
        if self.fields {
            line.message.push_str(&line.fields);
        }
        line.message.push('\n');
        sink::write(
            line.message.as_bytes(),
            *event.metadata().level() <= Level::WARN,
        );
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "MESSAGE_ID" => Ok(()), // of use in the journal only
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
