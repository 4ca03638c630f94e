//! What the messages of an opened packet do to the client: snapshots, updates, tickets and control.
//! It opens nothing and sends nothing; [`Client::handle_datagram`] calls it.

use super::{Client, Event, Link};
use crate::client::closing::CloseReason;
use crate::client::error::ClientError;
use crate::client::resumption::Resumption;
use crate::client::session::{ControlOutcome, Opened};
use crate::client::snapshot::Scratch;
use crate::client::updates;
use crate::time::Nanos;
use crate::wire::{
    Channel, ControlMessage, Direction, Flags, Message, Messages, Stage, control_kind, is_allowed,
    to_client,
};

impl Client {
    pub(super) fn handle_opened(
        &mut self,
        now: Nanos,
        opened: Opened<'_>,
        scratch: &mut Scratch,
    ) -> Result<Event, ClientError> {
        let Link::Open(session) = &mut self.link else { return Err(ClientError::Connection) };
        if opened.channel.has_message_ids() {
            if session.handle_reliable(now, &opened, scratch)? {
                session.processed(opened.sequence, now);
            }
            return Ok(Event::Nothing);
        }
        let sent = self.inputs.newest;
        let mut event = Event::Nothing;
        let mut close = None;
        for message in Messages::new(opened.messages, opened.channel) {
            let Link::Open(session) = &mut self.link else { return Err(ClientError::Connection) };
            let message = message.map_err(|_| ClientError::Message)?;
            let stage = session.stage;
            if !is_allowed(Direction::ToClient, opened.channel, stage, message.kind) {
                return Err(ClientError::Unexpected);
            }
            if (opened.channel, message.kind) == (Channel::Unreliable, to_client::DELTA_SYNC) {
                let Some(applied) = self.world.apply(message.body, sent, stage, scratch)? else {
                    // Not acknowledged: its states were not taken over, so nothing may build on
                    // them.
                    self.statistics.stale_snapshots += 1;
                    return Ok(Event::Stale);
                };
                self.statistics.count_applied(&applied);
                self.told_at = now;
                event = Event::Snapshot(applied);
            } else if message.kind == control_kind::RESUME_TICKET {
                Resumption::take(&mut self.resumption, message.body)?;
                event = Event::Ticket;
            } else if opened.channel == Channel::Unreliable {
                let other = updates::read(&mut self.world, &message, sent, now)?;
                event = if other == Event::Nothing { event } else { other };
            } else {
                close = self.handle_control(now, &opened, &message, &mut event)?.or(close);
            }
        }
        if let Link::Open(session) = &mut self.link {
            if self.world.own().is_some() {
                session.stage = Stage::Entered;
            }
            session.processed(opened.sequence, now);
        }
        if let Some(reason) = close {
            self.close(reason);
            return Ok(Event::Closed);
        }
        Ok(event)
    }

    /// Why the session is over, if the message says so; what else the caller has to know goes to
    /// `event`.
    fn handle_control(
        &mut self,
        now: Nanos,
        opened: &Opened<'_>,
        message: &Message<'_>,
        event: &mut Event,
    ) -> Result<Option<CloseReason>, ClientError> {
        let Link::Open(session) = &mut self.link else { return Err(ClientError::Connection) };
        let control = ControlMessage::read(message).map_err(|_| ClientError::Message)?;
        let says_hello = matches!(control, ControlMessage::ReliableHandshake(_));
        if says_hello && !opened.flags.contains(Flags::RELIABLE_HANDSHAKE) {
            return Err(ClientError::Unexpected);
        }
        if let ControlMessage::Disconnect { retry_s, .. } = control {
            self.retry_s = retry_s;
        }
        match session.handle_control(now, opened.sequence, control)? {
            ControlOutcome::Nothing => {}
            ControlOutcome::RekeyRequested => {
                // It is repeated, and nothing else is: what else the packet says comes first.
                if *event == Event::Nothing {
                    *event = Event::RekeyRequested;
                }
            }
            ControlOutcome::Moved => *event = Event::Moved(session.connection()),
            ControlOutcome::Confirmed => {
                self.enter_next = now;
                *event = Event::Confirmed;
            }
            ControlOutcome::Disconnected(reason) => {
                return Ok(Some(CloseReason::Disconnected(reason)));
            }
        }
        Ok(None)
    }
}
