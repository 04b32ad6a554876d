//! Checkpoints on their way between hosts: the newest proved one of a replica, piece by piece, as
//! the receiver asks for them.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crane_core::id::{NodeId, Slot};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::cell::upper;
use crate::driver::{Arriving, DriverInput};
use crate::net::link::Link;
use crate::report::TransferMessage;

use super::arrival::{Arrived, Places, put, receive};
use super::offer::Offer;
use super::{HostOutcome, Outcomes};

/// The time after which an offer ends that nobody asks about: it holds space on the disk.
const OFFERED_FOR: Duration = Duration::from_secs(60);
/// The directory for transfers in a data directory.
const DIRECTORY: &str = "transfer";

/// The checkpoints that this host sends and receives.
pub(super) struct TransferRoom {
    places: Places,
    /// The directory for offers.
    offers: PathBuf,
    library: [u8; 16],
    outcomes: Outcomes,
    /// The offer. Only one is made at a time.
    offered: Rc<Mutex<Option<Offered>>>,
    /// The queue of the checkpoint that is being received, and its sender.
    receiving: RefCell<Option<(NodeId, UnboundedSender<TransferMessage>)>>,
}

/// An offer, and when it was last asked about.
struct Offered {
    offer: Arc<Offer>,
    asked: Instant,
}

impl TransferRoom {
    /// Creates the room of a data directory. `server` is the directory in which the server starts.
    pub(super) fn new(
        data: &Path,
        server: Option<PathBuf>,
        library: [u8; 16],
        outcomes: Outcomes,
    ) -> Self {
        let directory = data.join(DIRECTORY);
        let offers = directory.join("sent");
        // A replica that was killed leaves its offer, a former version its archive; the disk has
        // the room.
        let _ = upper::remove(&offers).or_else(|_| upper::remove_file(&offers));
        let places =
            Places { data: data.to_path_buf(), arriving: directory.join("arriving"), server };
        let (offered, receiving) = (Rc::default(), RefCell::default());
        Self { places, offers, library, outcomes, offered, receiving }
    }

    /// Handles a message of another replica. `group` is the group's name.
    pub(super) fn on_message(&self, link: &Rc<Link>, group: &str, message: TransferMessage) {
        match message {
            TransferMessage::Wanted => self.offer(link.clone(), group.to_string()),
            TransferMessage::Get { slot, offset } => {
                self.answer(link.clone(), slot, move |offer| offer.piece(offset).map(Some));
            }
            TransferMessage::GetBlocks { slot, blocks } => {
                self.answer(link.clone(), slot, move |offer| offer.blocks(&blocks));
            }
            answer => {
                if let Some((_, queue)) =
                    self.receiving.borrow().as_ref().filter(|(from, _)| *from == link.node)
                {
                    let _ = queue.send(answer);
                }
            }
        }
    }

    /// Offers the newest proved checkpoint to the replica behind a link.
    fn offer(&self, link: Rc<Link>, group: String) {
        let (data, offers, library) = (self.places.data.clone(), self.offers.clone(), self.library);
        let offered = self.offered.clone();
        spawn_local(async move {
            let mut present = offered.lock().await;
            let known = present.as_ref().map(|it| it.offer.slot);
            let making = spawn_blocking(move || {
                fs::create_dir_all(&offers).map_err(|error| upper::describe(&offers, &error))?;
                Offer::make(&data, &offers, &group, library, known)
            });
            let made = making.await.unwrap_or_else(|error| Err(error.to_string()));
            let message = match made {
                Ok(made) => {
                    let is_new = made.is_some();
                    let known = present.take().map(|it| it.offer);
                    let offer = made.map(Arc::new).or(known);
                    let offer = offer.expect("the one that is known is present");
                    let message = offer.message();
                    *present = Some(Offered { offer, asked: Instant::now() });
                    if is_new {
                        spawn_local(end_unused(offered.clone()));
                    }
                    message
                }
                Err(why) => TransferMessage::Refused { why },
            };
            put(&link, &message);
        });
    }

    /// Answers a replica that asks about the offer of a slot.
    fn answer(
        &self,
        link: Rc<Link>,
        slot: Slot,
        read: impl FnOnce(&Offer) -> std::io::Result<Option<TransferMessage>> + Send + 'static,
    ) {
        let offered = self.offered.clone();
        spawn_local(async move {
            let offer = match &mut *offered.lock().await {
                Some(Offered { offer, asked }) if offer.slot == slot => {
                    *asked = Instant::now();
                    offer.clone()
                }
                _ => {
                    let why = "the checkpoint is not offered any more".to_string();
                    return put(&link, &TransferMessage::Refused { why });
                }
            };
            let reading = spawn_blocking(move || read(&offer).map_err(|error| error.to_string()));
            match reading.await.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(Some(message)) => put(&link, &message),
                // No replica asks for such a piece.
                Ok(None) => {}
                Err(why) => put(&link, &TransferMessage::Refused { why }),
            }
        });
    }

    /// Receives the newest proved checkpoint of the replica behind a link, or only the state of
    /// its log if `with_files` is false. [`DriverInput::Arriving`] follows.
    pub(super) fn receive(&self, link: Rc<Link>, with_files: bool) {
        let (queue, answers) = unbounded_channel();
        *self.receiving.borrow_mut() = Some((link.node, queue));
        let (places, outcomes) = (self.places.clone(), self.outcomes.clone());
        spawn_local(async move {
            let shown = outcomes.clone();
            let show = move |got, of| {
                let input = DriverInput::Arriving(Arriving::Piece { got, of });
                let _ = shown.send(HostOutcome::Input(input));
            };
            let outcome = match receive(&link, answers, &places, with_files, show).await {
                Ok(Arrived { slot, sent, bytes }) => Arriving::Here { slot, sent, bytes },
                Err(why) => Arriving::Failed(why),
            };
            let _ = outcomes.send(HostOutcome::Input(DriverInput::Arriving(outcome)));
        });
    }
}

/// Ends the offer once nobody has asked about it for long.
async fn end_unused(offered: Rc<Mutex<Option<Offered>>>) {
    loop {
        let mut present = offered.lock().await;
        let Some(Offered { asked, .. }) = &*present else { return };
        let until = *asked + OFFERED_FOR;
        if Instant::now() >= until {
            let ended = present.take();
            // Its files may be large.
            let _ = spawn_blocking(move || drop(ended)).await;
            return;
        }
        drop(present);
        sleep_until(until).await;
    }
}
