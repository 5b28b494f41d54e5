//! What pages report: taken from their script, limited, and passed on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use diagnostics::PageReport;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use listener::RequestBody;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use crate::body::{AnyBody, whole};
use crate::headers::{content_length, is_same_origin};
use crate::reply;

/// Bytes of a report.
const MAX_REPORT: usize = 64 << 10;
/// Reports a second; of more, the errors are counted only.
const REPORTS_PER_SECOND: u32 = 20;
/// Reports that are read at once, so that their bodies take a bounded part of the memory.
const MAX_READS: usize = 32;
const SECOND: Duration = Duration::from_secs(1);

/// Takes reports, and passes them on.
#[derive(Debug)]
pub(crate) struct Reports {
    sender: Sender<PageReport>,
    reads: Semaphore,
    rate: Mutex<Rate>,
}

/// What came in the current second, and what is still to be counted.
#[derive(Debug)]
struct Rate {
    since: Instant,
    /// Reports passed on with their errors.
    full: u32,
    /// Reports passed on without.
    reduced: u32,
    /// Errors that were not passed on. The next report brings their number.
    omitted: u64,
    /// [`Reports::pass_on_count`] is going to be called.
    is_counting: bool,
}

/// What becomes of one report.
enum Admission {
    Full(PageReport),
    /// Too many: what is left without its errors, if anything.
    Reduced(Option<PageReport>),
}

impl Rate {
    fn admit(&mut self, mut report: PageReport, now: Instant) -> Admission {
        if now.saturating_duration_since(self.since) >= SECOND {
            (self.since, self.full, self.reduced) = (now, 0, 0);
        }
        if self.full < REPORTS_PER_SECOND {
            self.full = self.full.saturating_add(1);
            report.omitted = report.omitted.saturating_add(std::mem::take(&mut self.omitted));
            return Admission::Full(report);
        }
        self.omitted = self.omitted.saturating_add(report.take_errors());
        // Whether pages are open, and took an update, is needed also while another page reports too much.
        if report.events.is_empty() || self.reduced >= REPORTS_PER_SECOND {
            return Admission::Reduced(None);
        }
        self.reduced = self.reduced.saturating_add(1);
        Admission::Reduced(Some(report))
    }
}

impl Reports {
    pub(crate) fn new(sender: Sender<PageReport>) -> Arc<Reports> {
        let rate = Rate { since: Instant::now(), full: 0, reduced: 0, omitted: 0, is_counting: false };
        Arc::new(Reports { sender, reads: Semaphore::new(MAX_READS), rate: Mutex::new(rate) })
    }

    /// Answers a `POST` of a page's script.
    pub(crate) async fn receive(self: &Arc<Self>, request: Request<RequestBody>, host: &str) -> Response<AnyBody> {
        if !is_same_origin(&request, host) {
            return reply::refusal(StatusCode::FORBIDDEN, "only pages of the preview report");
        }
        if content_length(request.headers()).is_some_and(|length| length > MAX_REPORT as u64) {
            return too_large();
        }
        let Ok(_read) = self.reads.try_acquire() else { return too_many() };
        let body = match Limited::new(request.into_body(), MAX_REPORT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return too_large(),
            Err(_) => return reply::refusal(StatusCode::REQUEST_TIMEOUT, "the report stopped in the middle"),
        };
        let report = match PageReport::parse(&body) {
            Ok(report) => report,
            Err(error) => return reply::refusal(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let page = PageReport { events: Vec::new(), omitted: 0, ..report.clone() };
        let admission = self.rate().admit(report, Instant::now());
        match admission {
            Admission::Full(report) => {
                self.send(report);
                no_content()
            }
            Admission::Reduced(report) => {
                if let Some(report) = report {
                    self.send(report);
                }
                self.count_soon(page);
                too_many()
            }
        }
    }

    fn rate(&self) -> std::sync::MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the receiver is behind, the errors are counted only.
    fn send(&self, report: PageReport) {
        if let Err(tokio::sync::mpsc::error::TrySendError::Full(mut report)) = self.sender.try_send(report) {
            let mut rate = self.rate();
            rate.omitted = rate.omitted.saturating_add(report.take_errors());
        }
    }

    /// Passes the number of errors on a second later, also where no other report comes.
    fn count_soon(self: &Arc<Self>, page: PageReport) {
        if std::mem::replace(&mut self.rate().is_counting, true) {
            return;
        }
        let reports = self.clone();
        tokio::spawn(async move {
            sleep(SECOND).await;
            reports.pass_on_count(page);
        });
    }

    fn pass_on_count(&self, mut page: PageReport) {
        {
            let mut rate = self.rate();
            rate.is_counting = false;
            page.omitted = std::mem::take(&mut rate.omitted);
        }
        if page.omitted > 0 {
            self.send(page);
        }
    }
}

fn no_content() -> Response<AnyBody> {
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn too_large() -> Response<AnyBody> {
    reply::refusal(StatusCode::PAYLOAD_TOO_LARGE, "a report has at most 64 KiB")
}

fn too_many() -> Response<AnyBody> {
    reply::refusal(StatusCode::TOO_MANY_REQUESTS, "more than 20 reports in a second: the errors are counted only")
}
