"""Languages as translators name them: ISO 639-1 or 639-3, with script or region; and what tells a model which one.

A translator of many languages begins its translations with a token (M2M100, mBART, NLLB), or reads a token or words at
the start of its text (Marian, MADLAD; T5).
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from nlift.data.languages import NAMES
from nlift.errors import ConfigError
from nlift.settings import TranslateConfig

TOGETHER = {name: (name, *(set(names) - {name})) for names in NAMES.values() for name in names}
ANY_REGION = "xx"  # mBART's en_XX
IN_TEXT = re.compile(r">>(\w[\w-]*)<<|<2(\w+)>")  # Marian's tokens, and MADLAD's


def known_code(config: TranslateConfig, codes: Collection[str], field: str, wanted: str) -> str:
    """The code among a model's that a setting means. Raises ConfigError where there is none, or several."""
    matches = meant(codes, wanted)
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(sorted(codes))
    if matches:
        several = f"{config.model} has {wanted!r} as {', '.join(matches)}; expected one of these"
        raise ConfigError(f"translate.{field}: {several}")
    raise ConfigError(f"translate.{field}: {config.model} does not know {wanted!r}; it knows {known}")


def meant(codes: Iterable[str], wanted: str) -> list[str]:
    """The codes of a language; several where there are several scripts or regions of it and none is wanted."""
    codes, wanted = list(codes), wanted.strip("<>")
    if wanted in codes:
        return [wanted]
    names, variety = _parts(wanted)
    nearness = {code: _nearness(names, _parts(code)[0]) for code in codes}
    same = sorted((code for code in codes if nearness[code] is not None), key=lambda code: nearness[code] or 0)
    exact = [code for code in same if _parts(code)[1] == variety]
    if exact:
        return exact[:1]
    agreeing = [code for code in same if _agree(variety, _parts(code)[1])]
    return [code for code in agreeing if not _parts(code)[1]][:1] or agreeing


def _parts(code: str) -> tuple[tuple[str, ...], str]:
    """A language's names, and its script or region in lower case; "" where there is none."""
    language, _, variety = code.replace("-", "_").lower().partition("_")
    return NAMES.get(language) or TOGETHER.get(language) or (language,), variety


def _nearness(wanted: tuple[str, ...], has: tuple[str, ...]) -> int | None:
    """How near a model's language is to a wanted one, 0 is the nearest; None where it is another."""
    if has[0] in wanted:
        return wanted.index(has[0])
    return len(wanted) if set(wanted) & set(has) else None


def _agree(wanted: str, has: str) -> bool:
    """Whether two varieties of a language may be the same: two scripts, or two regions, are not."""
    script, other = len(wanted) == 4, len(has) == 4
    return not wanted or not has or script != other or (ANY_REGION in (wanted, has) and not script)


def language_codes(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Token ids by language code, as `pl` (M2M100) or `pl_PL` (mBART-50); empty for one-pair models."""
    for attribute in ("lang_code_to_id", "lang_token_to_id"):
        tokens = getattr(tokenizer, attribute, None)
        if tokens:
            return {code.strip("_"): token for code, token in tokens.items()}
    if not hasattr(tokenizer, "src_lang"):
        return {}
    special = [token for token in tokenizer.additional_special_tokens if len(token.split("_")) == 2]
    return {token: tokenizer.convert_tokens_to_ids(token) for token in special}


def text_prefix(config: TranslateConfig, tokenizer: PreTrainedTokenizerBase, model_config: Any) -> str:
    """What a text must begin with so that it is translated into the language; "" for one-pair models."""
    matches = [(match, token) for token in tokenizer.get_vocab() if (match := IN_TEXT.fullmatch(token))]
    tokens = {match[1] or match[2]: token for match, token in matches}
    if tokens:
        return f"{tokens[known_code(config, tokens, 'target_language', config.target_language)]} "
    tasks = getattr(model_config, "task_specific_params", None) or {}
    pairs = {name.removeprefix("translation_"): task for name, task in tasks.items() if name.startswith("translation_")}
    if not pairs:
        return getattr(model_config, "prefix", None) or ""
    for pair, task in pairs.items():
        source, _, target = pair.partition("_to_")
        if meant([source], config.source_language) and meant([target], config.target_language):
            return str(task.get("prefix") or "")
    wanted = f"{config.source_language}_to_{config.target_language}"
    raise ConfigError(
        f"translate.target_language: {config.model} does not know {wanted}; it knows {', '.join(sorted(pairs))} "
        "(task_specific_params in its config.json)"
    )
