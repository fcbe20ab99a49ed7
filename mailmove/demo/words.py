"""What the demo's mail is made of: people who do not exist, and what they write about. Data, not code.

Everything but SPECIAL can be written in Latin-1. All hosts are of RFC 2606's example domains.
"""

from __future__ import annotations

OWNER = ("Anna Köhler", "anna@example.net")

PEOPLE = (
    ("Jürgen Müßig", "j.muessig@example.org"),
    ("Käthe Grünwald", "kaethe.gruenwald@example.com"),
    ("Françoise Lefèvre", "francoise@example.org"),
    ("Søren Kjærgård", "soren.k@example.net"),
    ("Mary O'Connor", "mary@example.com"),
    ("Björn Ångström", "bjorn@example.org"),
    ("Peter Schmidt", "peter.schmidt@example.net"),
    ("Zoë Brontë", "zoe@example.com"),
    ("Dr. Heinz-Günther Öhlschläger", "oehlschlaeger@example.org"),
    ("José Nuñez", "jose.nunez@example.com"),
    ("Tante Gisela", "gisela1941@example.net"),
    ("Hausverwaltung Weiß & Söhne", "post@example.org"),
    ("Tom Baker", "tom.baker@example.com"),
    ("Úrsula Ibáñez", "ursula@example.org"),
)

SHOPS = (
    ("Bücher-Rundbrief", "news@example.com"),
    ("Fahrradladen Kette & Co", "rundbrief@example.org"),
    ("The Garden Weekly", "weekly@example.net"),
    ("Käseclub Allgäu", "club@example.com"),
)

SUBJECTS = (
    "Grüße aus Südtirol",
    "Rechnung für März",
    "Photos from Saturday",
    "Schlüssel fürs Gartenhaus",
    "Frühstück am Sonntag?",
    "Meeting moved to Thursday",
    "Kündigung des Mietvertrags, Übergabe der Wohnung und was sonst noch zu klären wäre",
    "Omas Käsekuchen",
    "Tickets for Málaga",
    "Ärztlicher Befund",
    "Your order 4711",
    "Wärmepumpe: Angebot",
    "Re-reading the contract",
    "Vereinssitzung, Tagesordnung",
    "naïve question about the café",
    "Lebenslauf",
)

SENTENCES = (
    "Die Fotos vom Wochenende hängen an, das beste ist das mit dem Esel.",
    "Könntest du bitte noch einmal über den Entwurf schauen?",
    "I will be late on Tuesday, please start without me.",
    "Die Heizung läuft wieder, der Monteur war gestern früh da.",
    "Wir haben für Samstag einen Tisch bestellt, sechs Plätze, draußen.",
    "Please find the signed copy attached and keep it somewhere safe.",
    "Übrigens: der Schlüssel liegt unter dem dritten Blumentopf.",
    "The train leaves at 8:42, platform 7, and there is no other one before noon.",
    "Größere Änderungen erwarte ich nicht mehr, höchstens an der Überschrift.",
    "Das Rezept braucht 250 g Mehl, drei Eier und viel Geduld.",
    "As discussed, we would go ahead with the second offer.",
    "Bis Ende des Monats müssen wir uns entscheiden, sonst verfällt die Anzahlung.",
    "Mon café préféré est fermé, quel dommage.",
    "Nobody has seen the cat since Monday, but the bowl is empty every morning.",
    "Schöne Grüße auch von Jörg und den Kindern!",
    "Can you send me the address once more? I have lost the note.",
)

SPECIAL = (
    "„Wer später bremst, ist länger schnell“ – so stand es auf der Tasse.",  # noqa: RUF001  a dash as German has it
    "Das kostet 49,90 € und kommt aus Łódź.",
    "Alles Gute zum Geburtstag! 🎂🎉",
    "Αθήνα war heiß, Прага war schön, 東京 kommt als Nächstes.",
)

FILES = (
    ("Urlaub in Südtirol.jpg", "image/jpeg"),
    ("Rechnung 2014-03.pdf", "application/pdf"),
    ("Grundriß Wohnung.pdf", "application/pdf"),
    ("IMG_4711.jpg", "image/jpeg"),
    ("Käsekuchen.jpg", "image/jpeg"),
    ("contract, signed.pdf", "application/pdf"),
    ("Übergabeprotokoll.zip", "application/zip"),
)
