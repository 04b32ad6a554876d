//! Writes the seeds of all targets as files, one directory for each target, and prints the names of
//! the targets: `crane-fuzz-seeds DIRECTORY`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: crane-fuzz-seeds DIRECTORY");
        return ExitCode::from(2);
    };
    for target in crane_fuzz::TARGETS {
        let place = directory.join(target.name);
        let written = std::fs::create_dir_all(&place).and_then(|()| {
            (target.seeds)().iter().enumerate().try_for_each(|(number, seed)| {
                std::fs::write(place.join(format!("seed-{number:03}")), seed)
            })
        });
        if let Err(error) = written {
            eprintln!("{}: {error}", place.display());
            return ExitCode::FAILURE;
        }
        println!("{}", target.name);
    }
    ExitCode::SUCCESS
}
