//! `celeriac top` on a screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    widgets::{Block, Cell, Paragraph, Row, Table},
};

use super::model::{HostLine, QueueLine, RunningLine, View, oldest, rate};
use crate::cli::figures::span;

/// What is said beside the tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frills {
    /// Where the broker is.
    pub(crate) address: String,
    /// Why the last look failed; what is shown is older then.
    pub(crate) error: Option<String>,
    /// Whether the view is held.
    pub(crate) is_held: bool,
    /// How many of what runs are above the screen.
    pub(crate) scrolled: usize,
}

/// What the keys do.
pub(crate) const KEYS: &str = "q quit   space hold   ↑ ↓ scroll what runs";

const HEADING: Style = Style::new().add_modifier(Modifier::BOLD);
const ALARM: Style = Style::new().fg(Color::Red);
const NOTICE: Style = Style::new().fg(Color::Yellow);

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View, frills: &Frills) {
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(2);
    let [top, queues, hosts, running, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Max(rows(view.queues.len())),
        Constraint::Max(rows(view.hosts.len())),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let mut summary = format!(
        "{}   {} queued   {} of {} running   {} hosts",
        frills.address,
        view.queued,
        view.in_progress,
        view.slots,
        view.hosts.len()
    );
    if !view.paused_tasks.is_empty() {
        summary += &format!("   paused: {}", view.paused_tasks.join(", "));
    }
    frame.render_widget(Paragraph::new(summary).style(HEADING), top);
    draw_queues(frame, queues, &view.queues);
    draw_hosts(frame, hosts, &view.hosts);
    draw_running(
        frame,
        running,
        view.running.get(frills.scrolled..).unwrap_or_default(),
    );
    let (line, style) = match (&frills.error, frills.is_held) {
        (Some(error), _) => (error.clone(), ALARM),
        (None, true) => (format!("held   {KEYS}"), NOTICE),
        (None, false) => (KEYS.to_owned(), Style::new()),
    };
    frame.render_widget(Paragraph::new(line).style(style), keys);
}

fn table<'a, const N: usize>(
    title: &'a str,
    header: [&'a str; N],
    rows: impl Iterator<Item = Row<'a>>,
    widths: [Constraint; N],
) -> Table<'a> {
    Table::new(rows, widths)
        .header(Row::new(header).style(Style::new().add_modifier(Modifier::DIM)))
        .block(Block::new().title(title).title_style(HEADING))
        .column_spacing(2)
}

fn draw_queues(frame: &mut Frame<'_>, area: Rect, queues: &[QueueLine]) {
    let row = |queue: &QueueLine| {
        let (hosts, style) = match (queue.is_paused, queue.hosts, queue.queued) {
            (true, ..) => ("paused".to_owned(), NOTICE),
            (_, 0, 1..) => ("none".to_owned(), ALARM),
            (_, hosts, _) => (hosts.to_string(), Style::new()),
        };
        Row::new([
            Cell::new(queue.queue.clone()),
            Cell::new(queue.queued.to_string()),
            Cell::new(queue.scheduled.to_string()),
            Cell::new(queue.running.to_string()),
            Cell::new(oldest(queue)),
            Cell::new(rate(queue.in_per_second)),
            Cell::new(rate(queue.out_per_second)),
            Cell::new(hosts).style(style),
        ])
    };
    let header = [
        "QUEUE",
        "QUEUED",
        "SCHEDULED",
        "RUNNING",
        "OLDEST",
        "IN/S",
        "OUT/S",
        "HOSTS",
    ];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
    ];
    frame.render_widget(
        table("Queues", header, queues.iter().map(row), widths),
        area,
    );
}

fn draw_hosts(frame: &mut Frame<'_>, area: Rect, hosts: &[HostLine]) {
    let row = |host: &HostLine| {
        let style = if host.state == "live" {
            Style::new()
        } else {
            NOTICE
        };
        Row::new([
            Cell::new(host.host.clone()),
            Cell::new(host.state).style(style),
            Cell::new(format!("{} of {}", host.running, host.concurrency)),
            Cell::new(host.ceiling.to_string()),
            Cell::new(format!("{} ago", span(host.seen_ms_ago))),
            Cell::new(host.queues.clone()),
        ])
    };
    let header = ["HOST", "STATE", "RUNNING", "CEILING", "SEEN", "QUEUES"];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(7),
        Constraint::Length(12),
        Constraint::Fill(1),
    ];
    frame.render_widget(table("Hosts", header, hosts.iter().map(row), widths), area);
}

fn draw_running(frame: &mut Frame<'_>, area: Rect, running: &[RunningLine]) {
    let row = |line: &RunningLine| {
        Row::new([
            line.id.clone(),
            line.task.clone(),
            line.host.clone(),
            line.attempt.to_string(),
            span(line.age_ms),
            line.progress.clone(),
        ])
    };
    let header = ["RUNNING", "TASK", "HOST", "ATTEMPT", "AGE", "PROGRESS"];
    let widths = [
        Constraint::Length(36),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    frame.render_widget(
        table("Invocations", header, running.iter().map(row), widths),
        area,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::{super::model::tests::look, *};

    /// The screen as text.
    fn screen(view: &View, frills: &Frills, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view, frills)).unwrap();
        terminal.backend().to_string()
    }

    fn view() -> View {
        let mut view = View::of(&look(12, 40, 130), Some(&look(10, 60, 100)));
        view.running = (0..5)
            .map(|number| RunningLine {
                id: format!("id-{number}"),
                task: "images/resize".to_owned(),
                queue: "images".to_owned(),
                host: "web-1".to_owned(),
                attempt: 1,
                age_ms: 1500,
                progress: "1 of 4".to_owned(),
            })
            .collect();
        view
    }

    #[test]
    fn shows_queues_hosts_and_what_runs() {
        let frills = Frills {
            address: "redis://here/".to_owned(),
            ..Frills::default()
        };
        let text = screen(&view(), &frills, 120, 20);
        for part in [
            "redis://here/   40 queued   2 of 4 running   1 hosts",
            "images",
            "paused",
            "1 min",
            "5.0",
            "15",
            "web-1",
            "2 of 4",
            "id-4",
            "1 of 4",
            "q quit",
        ] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }

    #[test]
    fn scrolls_holds_and_says_what_is_wrong() {
        let mut frills = Frills {
            scrolled: 3,
            is_held: true,
            ..Frills::default()
        };
        let text = screen(&view(), &frills, 120, 20);
        assert!(!text.contains("id-2") && text.contains("id-3"), "{text}");
        assert!(text.contains("held"), "{text}");
        frills.error = Some("the broker does not answer".to_owned());
        assert!(screen(&view(), &frills, 120, 20).contains("does not answer"));
        // A screen that is too small shows less, and harms nothing.
        screen(&view(), &frills, 10, 3);
        frills.scrolled = 99;
        screen(&view(), &frills, 1, 1);
    }
}
