"""A sentence to begin with, in the language that a model reads, and how languages are called."""

_SENTENCES = {
    "cs": "Muž jede na koni po pláži.",
    "de": "Ein Mann reitet auf einem Pferd am Strand entlang.",
    "en": "A man rides a horse along the beach.",
    "es": "Un hombre monta a caballo por la playa.",
    "fr": "Un homme monte à cheval sur la plage.",
    "it": "Un uomo va a cavallo lungo la spiaggia.",
    "ja": "男の人が浜辺で馬に乗っています。",
    "nl": "Een man rijdt op een paard langs het strand.",
    "pl": "Mężczyzna jedzie konno po plaży.",
    "pt": "Um homem anda a cavalo na praia.",
    "ru": "Мужчина едет на лошади по пляжу.",
    "tr": "Bir adam sahilde at sürüyor.",
    "uk": "Чоловік їде на коні пляжем.",
    "zh": "一个男人在海滩上骑马。",
}


def sentence(language: str | None) -> str:
    """Give a sentence in a language, "" where we have none; `language` is a code such as "de"."""
    return _SENTENCES.get((language or "").replace("_", "-").split("-")[0].lower(), "")


def name_of(language: str | None) -> str:
    """Give the English name of a language by its code, the code where it is not known, "" for None."""
    from babel import Locale, UnknownLocaleError

    if not language:
        return ""
    try:
        return Locale.parse(language.replace("-", "_")).get_display_name("en") or language
    except (UnknownLocaleError, ValueError):
        return language
