//! A look at a program of the server: how it is started, and its base on this host.

use std::net::IpAddr;
use std::path::PathBuf;

use tracing::info;

use crate::base::{self, Base, elf};
use crate::cell::{self, Spec};
use crate::checkpoint::left_files::FilesOrder;
use crate::checkpoint::store::Checkpoint;
use crate::keys::place::KEYS_DIRECTORY;
use crate::options::ReplicaArgs;
use crate::own_output;
use crate::server_program::Upgrade;
use crate::server_user::ServerUser;

/// Everything that is the same for each program of a replica.
#[derive(Clone, Debug)]
pub(crate) struct ProgramContext {
    /// The command line.
    pub(crate) args: ReplicaArgs,
    /// Addresses that the server may bind although not every host has them.
    pub(crate) service: Vec<IpAddr>,
    /// The data directory.
    pub(crate) data: PathBuf,
    /// The working directory.
    pub(crate) directory: PathBuf,
}

impl ProgramContext {
    /// Returns how to start the server with this command, and the base that all replicas must
    /// share. It reads files.
    ///
    /// # Errors
    /// Returns what is wrong with the program, or what could not be read.
    pub(crate) fn look(&self, command: &[String]) -> Result<(Spec, Base), String> {
        let Self { args, service, data, directory } = self;
        let name = command.first().ok_or("give the server's program after --")?;
        let program = elf::find(name, args.floor.is_on()).map_err(|error| error.to_string())?;
        let user = args.user.as_deref().map(ServerUser::find).transpose()?;
        let environment = base::environment(user.as_ref(), &args.env);
        let mut ours = args.own_output.clone();
        ours.extend(own_output::files());
        ours.retain(|file| file.starts_with(directory));
        for file in &ours {
            info!("{} gets this command's output: the server does not see it", file.display());
        }
        // Keys are the host's, and no server's to read.
        let keys: Vec<PathBuf> =
            args.keys.iter().cloned().chain([directory.join(KEYS_DIRECTORY)]).collect();
        ours.extend(keys.iter().filter(|path| path.starts_with(directory)).cloned());
        let mut base = Base::of(&program, &command[1..], &environment, (directory, &ours), data)?;
        base.add_service_addresses(service);
        base.add_open_files(args.open_files);
        base.add_shared_memory(args.shared_memory);
        base.add_floor(args.floor.is_on());
        base.add_user(user.as_ref());
        ours.extend(keys.into_iter().filter(|path| !path.starts_with(directory)));
        ours.push(cell::hidden_directory(data));
        let spec = Spec {
            hidden: ours,
            data: data.clone(),
            directory: directory.clone(),
            program: program.path,
            arguments: command.to_vec(),
            environment,
            service: service.clone(),
            open_files: args.open_files,
            shared_memory: args.shared_memory,
            user,
            keeps_files: false,
            files: None,
            restore: None,
        };
        Ok((spec, base))
    }
}

/// An order to let another program take the place of the present one, behind a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct UpgradeOrder {
    /// The program, and the first incarnation that runs it.
    pub upgrade: Upgrade,
    /// The files that the next run begins with.
    pub files: FilesOrder,
}

/// An upgrade that is complete on this host.
#[derive(Debug)]
pub(crate) struct Upgraded {
    /// The upgrade.
    pub upgrade: Upgrade,
    /// The base of the program.
    pub base: Base,
    /// The checkpoint of the files that the server has left.
    pub checkpoint: Checkpoint,
}
