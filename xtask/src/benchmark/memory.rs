//! Memory of an idle container, by service.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Serialize;

use crate::engine::container::Container;

/// Prints a line per process: its service, its proportional set size (PSS), and the part of that which no file backs.
/// PSS divides shared pages among the processes that share them, so that the sum is the memory of all. The shell itself
/// is left out; it is the only process that the image did not start.
const PROCESSES: &str = r#"
for folder in /proc/[0-9]*; do
	if [ "$folder" = "/proc/$$" ]; then continue; fi
	service=- pss= anonymous=
	while IFS= read -r -d '' variable; do
		if [[ $variable == STACK_SERVICE=* ]]; then service=${variable#*=}; fi
	done 2>/dev/null <"$folder/environ"
	while read -r key value _; do
		case $key in
		Pss:) pss=$value ;;
		Pss_Anon:) anonymous=$value ;;
		esac
	done 2>/dev/null <"$folder/smaps_rollup"
	if [ -n "$pss" ]; then printf '%s %s %s\n' "$service" "$pss" "${anonymous:-0}"; fi
done
"#;

/// The name for processes of no service: s6 and the loggers.
pub(crate) const SUPERVISION: &str = "supervision";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) processes: usize,
    /// Proportional set size, in bytes.
    pub(crate) pss: u64,
    /// The part of it that no file backs, in bytes.
    pub(crate) anonymous: u64,
}

pub(crate) async fn read(container: &Container) -> anyhow::Result<BTreeMap<String, Memory>> {
    let output = container.exec(&["bash", "-c", PROCESSES]).await?;
    let memory = parse(&output).with_context(|| format!("cannot read the container's processes: {output}"))?;
    anyhow::ensure!(memory.len() > 1, "the container reports the memory of no service: {output}");
    Ok(memory)
}

fn parse(output: &str) -> Option<BTreeMap<String, Memory>> {
    let mut all: BTreeMap<String, Memory> = BTreeMap::new();
    for line in output.lines() {
        let [service, pss, anonymous] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let service = if service == "-" { SUPERVISION } else { service };
        let memory = all.entry(service.to_owned()).or_default();
        memory.processes += 1;
        memory.pss += pss.parse::<u64>().ok()? * 1024;
        memory.anonymous += anonymous.parse::<u64>().ok()? * 1024;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_added_up_by_service() {
        let all = parse("- 100 10\nmanager 200 150\nmanager 50 1\n").unwrap();
        assert_eq!(all["manager"], Memory { processes: 2, pss: 250 * 1024, anonymous: 151 * 1024 });
        assert_eq!(all[SUPERVISION].processes, 1);
        assert_eq!(parse("manager 200\n"), None);
        assert_eq!(parse("manager x 1\n"), None);
    }
}
