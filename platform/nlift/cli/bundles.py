"""Commands on bundles: index, search, bundles, promote, rollback, serve."""

import json
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
import yaml

from nlift import cluster, uris
from nlift.cli.app import Address, Overrides, app, cluster_of, load, user_errors
from nlift.config import load_experiment
from nlift.errors import NliftError
from nlift.settings import IndexConfig

FOLDER_OR_URI = "Folder of bundles, or its URI."


@app.command(epilog="Example: nlift index --corpus my_docs.jsonl --encoder runs/demo/train/encoder --output bundles")
@user_errors
def index(
    experiment: Annotated[Path | None, typer.Argument(metavar="[EXPERIMENT]")] = None,
    corpus: Annotated[str | None, typer.Option(help="Corpus file or BEIR folder.")] = None,
    encoder: Annotated[Path | None, typer.Option(help="Encoder folder.")] = None,
    output: Annotated[str | None, typer.Option(metavar="BUNDLES_DIR", help=FOLDER_OR_URI)] = None,
    kind: Annotated[str | None, typer.Option(help="auto, flat, hnsw, ivf_flat or ivf_pq.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Language of the corpus, as pl; recognised in its texts when not given.")
    ] = None,
    overrides: Overrides = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Embed only what is new since the last version; with its encoder where --encoder is not given.",
        ),
    ] = False,
    address: Address = None,
) -> None:
    """Build a bundle: an experiment's index stage, or any corpus with any encoder."""
    from nlift import pipeline, progress
    from nlift.pipeline import index as stage
    from nlift.report import console
    from nlift.search import aliases, bundle_store
    from nlift.search.faiss_index import WantedKind

    progress.show()
    given = [*(overrides or []), *([f"search.language={json.dumps(language)}"] if language is not None else [])]
    if experiment is not None:
        if corpus or encoder or output or kind or update:
            raise NliftError("index: an EXPERIMENT says --corpus, --encoder, --output, --kind and --update itself")
        loaded = load(experiment, given, address)
        stage.config_of(loaded)
        pipeline.run(loaded, [stage.STAGE.name])
        console.show_built(loaded)
        print(f"bundles: {stage.STAGE.bundles(loaded)}")
        return
    if update and encoder is None and output is not None:
        encoder = bundle_store.resolve(output) / "encoder"
    if corpus is None or encoder is None or output is None:
        raise NliftError("index: give an EXPERIMENT, or all of --corpus, --encoder and --output")
    if kind not in (None, *get_args(WantedKind)):
        raise NliftError(f"--kind {kind}: expected {', '.join(get_args(WantedKind))}")
    stage.check_encoder(encoder)
    config, searched = stage.sections(IndexConfig.model_validate({"corpus": corpus, "kind": kind or "auto"}), given)
    stage.check_corpus(config, searched)
    with bundle_store.building(output) as (folder, store):
        cluster.connect(cluster_of(address))
        with stage.STAGE.advice():
            built = stage.build(config, searched, encoder, folder, must_update=update, store=store)
        if aliases.PRODUCTION not in aliases.read_aliases(folder):
            aliases.promote(folder, built.folder.name, by="index")
    console.show_index(built)
    print(f"bundle: {output.rstrip('/')}/{built.folder.name}" if store else f"bundle: {built.folder}")
    if aliases.read_aliases(folder)[aliases.PRODUCTION] != built.folder.name:
        print(f"it is not served yet: nlift promote {output} {built.folder.name}")


@app.command(epilog="Example: nlift search runs/demo/index 'kto napisał Pana Tadeusza' --top-k 3")
@user_errors
def search(
    path: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle, or a folder of bundles; or its URI.")],
    query: str,
    top_k: Annotated[int, typer.Option(min=1, max=1000)] = 10,
    mode: Annotated[
        str, typer.Option(help="dense, lexical or hybrid; auto is what was best when the bundle was built.")
    ] = "auto",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter", metavar="KEY=VALUE", help="Only documents of this metadata; the value is YAML, as {gte: 2000}."
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each result stands there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Search a bundle."""
    from nlift import progress
    from nlift.report import console
    from nlift.search.bundle import Bundle
    from nlift.search.hits import hits_to_json

    progress.show()
    if mode not in ("auto", "dense", "lexical", "hybrid"):
        raise NliftError(f"--mode {mode}: expected auto, dense, lexical or hybrid")
    if not query.strip():
        raise NliftError("the query is empty")
    wanted = _filter(filters or [])
    hits = Bundle.load(path).search([query], top_k, mode=mode, filter=wanted, explain=explain)[0]  # type: ignore[arg-type]
    if as_json:
        print(json.dumps(hits_to_json(hits), ensure_ascii=False, indent=2))
    else:
        console.show_hits(query, hits)


def _as_json(node: yaml.Node | None) -> Any:
    """What a YAML node holds, its plain scalars as JSON has them: dates, `no` and 0123 are texts."""
    if isinstance(node, yaml.MappingNode):
        return {str(_as_json(key)): _as_json(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_as_json(item) for item in node.value]
    if not isinstance(node, yaml.ScalarNode):
        return ""
    if node.style in ("'", '"'):
        return node.value
    try:
        return json.loads(node.value)
    except ValueError:
        return node.value


def _filter(texts: list[str]) -> dict[str, Any]:
    """The filter that several `KEY=VALUE` say. Raises NliftError where one is none."""
    wanted: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in wanted:
            raise NliftError(f"--filter {text}: expected KEY=VALUE, each key once")
        try:
            wanted[name] = _as_json(yaml.compose(value, Loader=yaml.SafeLoader))
        except yaml.YAMLError:
            raise NliftError(f"--filter {text}: {value!r} is no YAML value; quote it") from None
    return wanted


@app.command(epilog="Example: nlift bundles runs/demo/index")
@user_errors
def bundles(folder: Annotated[str, typer.Argument(metavar="BUNDLES_DIR", help=FOLDER_OR_URI)]) -> None:
    """List the versions of a folder of bundles, what they are called, and their figures."""
    from nlift.report import console
    from nlift.search import bundle_store

    with bundle_store.listed(folder) as local:
        console.show_bundles(local, folder)


@app.command(epilog="Example: nlift promote runs/demo/index f433295f337b --dry-run")
@user_errors
def promote(
    folder: Annotated[str, typer.Argument(metavar="BUNDLES_DIR", help=FOLDER_OR_URI)],
    version: str,
    alias: str = "production",
    queries: Annotated[
        Path | None,
        typer.Option(metavar="BEIR_FOLDER", help="Queries that decide; those that the version keeps when not given."),
    ] = None,
    margin: Annotated[float, typer.Option(min=0, max=1, help="NDCG@10 that the version may lose.")] = 0.01,
    force: Annotated[bool, typer.Option("--force", help="Promote it although it is worse; the log says so.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare, and change nothing.")] = False,
) -> None:
    """Let an alias mean a version, unless that is worse than the one it means now."""
    from nlift import progress
    from nlift.pipeline import promotion
    from nlift.search import bundle_store

    progress.show()
    with bundle_store.changing(folder, version) as local:
        if dry_run:
            planned = promotion.plan(local, version, alias, queries=queries, margin=margin)
            print(planned)
            print(f"{'would be refused' if planned.refused else 'would be promoted'}; nothing was changed")
            return
        done = promotion.promote(local, version, alias, queries=queries, margin=margin, force=force)
    print(done)
    print(f"{alias} is now {version}{', by force' if done.forced else ''}")


@app.command(epilog="Example: nlift rollback runs/demo/index")
@user_errors
def rollback(
    folder: Annotated[str, typer.Argument(metavar="BUNDLES_DIR", help=FOLDER_OR_URI)], alias: str = "production"
) -> None:
    """Let an alias mean the version that it meant before."""
    from nlift.search import aliases, bundle_store

    with bundle_store.changing(folder) as local:
        for before in aliases.history(local, alias)[-2:-1] if uris.is_remote(folder) else ():
            bundle_store.fetched(folder, before, local)
        version = aliases.rollback(local, alias)
    print(f"{alias} is now {version}")


@app.command(epilog="Example: nlift serve runs/demo/index --port 8080")
@user_errors
def serve(
    path: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="A bundle, a folder of bundles or its URI, or an experiment's YAML.")
    ],
    alias: str = "production",
    host: Annotated[
        str | None, typer.Option(help="Address to bind; 127.0.0.1 unless the experiment says otherwise.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port; 8000 unless the experiment says otherwise.")
    ] = None,
    num_replicas: Annotated[int | None, typer.Option(min=1, help="Copies of encoder and index.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings; a copy of serve/nlift_serve/config.yaml.")
    ] = None,
    production: Annotated[
        bool, typer.Option("--production", help="Let HAProxy take the requests; it opens further ports.")
    ] = False,
    address: Address = None,
) -> None:
    """Serve a bundle over HTTP until interrupted; a folder of bundles is followed: what is promoted takes over."""
    from nlift import progress
    from nlift.search.bundle_format import read_info, verify
    from nlift.search.bundle_store import resolve
    from nlift_serve import replica
    from nlift_serve.config import DEFAULT, read_config

    progress.show()
    settings = read_config(config or DEFAULT)
    given: dict[str, Any] = {}
    if path.endswith((".yaml", ".yml")):
        from nlift.pipeline import index as stage

        experiment = load_experiment(path)
        path, given = stage.STAGE.bundles(experiment), experiment.serve.model_dump(exclude_unset=True)
    folder = resolve(path, alias)
    verify(folder, read_info(folder))
    named = {"host": host, "port": port, "num_replicas": num_replicas}
    wanted = {name: given.get(name) if value is None else value for name, value in named.items()}
    settings = settings.overridden(**wanted)
    replica.run(
        path if uris.is_remote(path) else str(Path(path).absolute()),
        alias,
        settings,
        cluster_of(address),
        production=production,
    )
