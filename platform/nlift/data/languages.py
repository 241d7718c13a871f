"""Languages and scripts that texts are in."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from nlift.errors import ConfigError

# ISO 639-1, then the names that ISO 639-3 has for it; a language that others belong to has the usual one of them beside
# it, as Arabic, `ara`, has Standard Arabic, `arb`. At the end codes that are no longer ISO 639-1.
ISO_639 = """
aa aar, ab abk, ae ave, af afr, ak aka twi, am amh, an arg, ar ara arb, as asm, av ava, ay aym ayr, az aze azj, ba bak,
be bel, bg bul, bh bih bho, bi bis, bm bam, bn ben, bo bod, br bre, bs bos, ca cat, ce che, ch cha, co cos, cr cre,
cs ces, cu chu, cv chv, cy cym, da dan, de deu, dv div, dz dzo, ee ewe, el ell, en eng, eo epo, es spa, et est ekk,
eu eus, fa fas pes, ff ful fuv, fi fin, fj fij, fo fao, fr fra, fy fry, ga gle, gd gla, gl glg, gn grn gug, gu guj,
gv glv, ha hau, he heb, hi hin, ho hmo, hr hrv, ht hat, hu hun, hy hye, hz her, ia ina, id ind, ie ile, ig ibo, ii iii,
ik ipk, io ido, is isl, it ita, iu iku, ja jpn, jv jav, ka kat, kg kon, ki kik, kj kua, kk kaz, kl kal, km khm, kn kan,
ko kor, kr kau knc, ks kas, ku kur kmr, kv kom, kw cor, ky kir, la lat, lb ltz, lg lug, li lim, ln lin, lo lao, lt lit,
lu lub, lv lav lvs, mg mlg plt, mh mah, mi mri, mk mkd, ml mal, mn mon khk, mr mar, ms msa zsm, mt mlt, my mya, na nau,
nb nob, nd nde, ne nep npi, ng ndo, nl nld, nn nno, no nor nob, nr nbl, nv nav, ny nya, oc oci, oj oji, om orm gaz,
or ori ory, os oss, pa pan, pi pli, pl pol, ps pus pbt, pt por, qu que quy, rm roh, rn run, ro ron, ru rus, rw kin,
sa san, sc srd, sd snd, se sme, sg sag, si sin, sk slk, sl slv, sm smo, sn sna, so som, sq sqi als, sr srp, ss ssw,
st sot, su sun, sv swe, sw swa swh, ta tam, te tel, tg tgk, th tha, ti tir, tk tuk, tl tgl fil, tn tsn, to ton, tr tur,
ts tso, tt tat, tw twi, ty tah, ug uig, uk ukr, ur urd, uz uzb uzn, ve ven, vi vie, vo vol, wa wln, wo wol, xh xho,
yi yid ydd, yo yor, za zha, zh zho cmn, zu zul, in ind, iw heb, ji yid ydd, jw jav, mo ron, sh hbs
"""
NAMES = {short: tuple(names) for short, *names in (entry.split() for entry in ISO_639.split(","))}
SURE = 0.9  # probability from which a language counts as recognised
SAMPLE = 200  # texts that are looked at
CHUNK = 200  # characters from which a text's language can be told
EXPECTED_SHARE = 0.25  # of the recognised text, for the language that is expected to be there
LEAST_SHARE = 0.01  # of the letters, for a script to be named
SCRIPTS = {"CJK": "Han"}  # by the first word of a letter's name, where that is not its script's


def recognised(text: str, languages: tuple[str, ...]) -> str | None:
    """Which of some languages (ISO 639-1) a text is in; None where that is not clear.

    Raises ConfigError for a language that cannot be recognised.
    """
    language, probability = _identifier(languages).classify(text)
    return language if probability >= SURE else None


def language_of(texts: Sequence[str], expected: str | None = None) -> str | None:
    """The language that texts are in (ISO 639-1), by a sample of them; None where that is not clear.

    Short texts are looked at together. `expected` is taken where nothing is clear, and where much of the text is
    recognised as it: neighbours such as Czech and Slovak are taken for each other.
    """
    identifier = _identifier(())
    votes = Counter(
        language for language, probability in map(identifier.classify, _chunks(texts)) if probability >= SURE
    )
    if not votes or (expected is not None and votes[expected] >= EXPECTED_SHARE * votes.total()):
        return expected
    language, count = votes.most_common(1)[0]
    return language if count >= votes.total() / 2 else expected


def _chunks(texts: Sequence[str]) -> Iterator[str]:
    """A sample of texts, the short ones joined."""
    chunk = ""
    for text in texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE]:
        chunk = f"{chunk} {text[: 2 * CHUNK]}"
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = ""
    if chunk.strip():
        yield chunk


def iso_639_1(code: str) -> str | None:
    """The two letters of a language that a model may name with script or region, as `pl` of `pl_PL` and `pol_Latn`."""
    language = code.replace("-", "_").lower().partition("_")[0]
    return language if language in NAMES else next((short for short, names in NAMES.items() if language in names), None)


def described(texts: Sequence[str]) -> str:
    """The language and the scripts of texts in a few words, as `pl 97 %, Latin`; of a sample where there are many."""
    sample = [text for text in texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE] if text.strip()]
    if not sample:
        return "no text"
    languages = Counter(_identifier(()).classify(text)[0] for text in sample)
    language, count = languages.most_common(1)[0]
    return f"{language} {100 * count / len(sample):.0f} %, {' and '.join(scripts(sample)) or 'no letters'}"


def scripts(texts: Sequence[str]) -> list[str]:
    """The scripts of the texts' letters, the most frequent first."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    counts: Counter[str] = Counter()
    for letter, count in letters.items():
        word = unicodedata.name(letter, "unknown").split()[0]
        counts[SCRIPTS.get(word, word.capitalize())] += count
    return [name for name, count in counts.most_common() if count >= LEAST_SHARE * counts.total()]


@lru_cache(maxsize=8)
def _identifier(languages: tuple[str, ...]) -> Any:
    """What tells these languages apart, or all that it knows."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)  # the package's own file
    unknown = set(languages) - set(identifier.nb_classes)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"triplets.filter.language: cannot recognise {names}; expected ISO 639-1 as pl")
    if languages:
        identifier.set_languages(list(languages))
    return identifier
