//! The end of a run: after a signal, or because the first state cannot be had.

use supervisor::init::{Shutdown, Signals};
use tracing::{error, info, warn};

use super::{Live, RunLoop};
use crate::cli::exit::Exit;
use crate::telemetry::status::Phase;

impl RunLoop {
    /// After a signal: no more events are handled, the dev server is stopped, then the agent ends. A second signal ends
    /// the dev server's grace time.
    pub(super) async fn shut_down(&mut self, signal: Shutdown, mut signals: Signals) -> Exit {
        self.status.set_phase(Phase::Stopping);
        self.install_spinner.end();
        info!(event_type = "shutdown", signal = signal.name(), "stopping ({})", signal.name());
        self.publish_phase();
        self.carry_out();
        self.live.iter_mut().for_each(Live::disconnect);
        self.state_writer.finish(|| self.agent.saved()).await;
        let mut stopped = std::pin::pin!(self.dev_server.clone().stop());
        tokio::select! {
            () = &mut stopped => {}
            _ = signals.next() => {
                warn!(event_type = "shutdown_hurried", "second signal: killing the dev server now");
                self.dev_server.hurry();
                stopped.await;
            }
        }
        info!(event_type = "shutdown_done", "stopped");
        Exit::signal(signal.number())
    }

    /// The project's first state cannot be had.
    pub(super) async fn fail(&mut self, exit: Exit) -> Exit {
        self.status.set_phase(Phase::Failed);
        error!(event_type = "failed", status = exit.status(), "cannot load the project: {}", exit.message());
        self.publish_phase();
        self.carry_out();
        self.dev_server.clone().stop().await;
        exit.without_message()
    }
}
