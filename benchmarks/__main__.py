"""Runs the workloads with the systems, in turn, and writes what came out."""

from __future__ import annotations

import click


@click.command()
@click.option("--workloads", metavar="A,B", help="Only these.")
@click.option("--systems", "names", metavar="A,B", help="Only these.")
@click.option("--size", type=click.Choice(["smoke", "quick", "full"]), default="quick")
@click.option("--rounds", type=click.IntRange(min=1), default=1)
def main(workloads: str | None, names: str | None, size: str, rounds: int) -> None:
    """Compare durable queues and workflow engines in Python."""
    import traceback
    from pathlib import Path

    from benchmarks import runs, server, systems
    from benchmarks import workloads as all_workloads

    log = Path("/tmp/bench.log")
    templates: dict[tuple[str, str], str] = {}
    with server.running(server.find_installation()) as postgres:
        for workload_name in (workloads or "drain").split(","):
            workload = all_workloads.load(workload_name)
            for case_name, case in workload.cases[size].items():
                for _ in range(rounds):
                    for name in (names or "currant").split(","):
                        system = systems.load(name)
                        for variant in system.variants:
                            if (name, variant) not in templates:
                                template = postgres.create_database()
                                runs.prepare(system, variant, postgres.url(template), log)
                                templates[name, variant] = template
                            database = postgres.create_database(templates[name, variant])
                            url = postgres.url(database)
                            try:
                                with runs.run_of(
                                    system, variant, url=url, size=size, server=postgres, log=log
                                ) as run:
                                    found = workload.measure(run, case)
                            except Exception:
                                traceback.print_exc()
                                found = {}
                            print(workload_name, case_name, name, variant, found, flush=True)
                            postgres.drop_database(database)


main()
