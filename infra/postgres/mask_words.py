"""The words that masked names and texts are made of: common, public, and nobody's in particular.

Invariant: each list's length is fixed, because a change of it changes every masked name of every customer.
"""

from __future__ import annotations

_GIVEN_NAMES = """
Ada Alan Alba Alma Amir Amos Anja Anna Anton Arno Asta Aya Bela Ben Bert Blanca Boris Bruno Carl Carla Cato
Celia Chen Clara Claus Cora Dana Dario David Dina Dora Edda Edgar Elena Elias Elif Ella Elsa Emil Emma Enno
Erik Erna Esra Eva Felix Fiona Flora Frida Gerd Greta Gustav Hana Hanna Hans Hava Heidi Helga Henry Hilda
Hugo Ida Igor Ilse Ines Inga Irene Iris Ivan Ivo Jana Jasper Joan Jonas Jorge Josef Juan Julia Jutta Kaya
Karim Karin Klara Knut Kofi Lara Lars Laura Lea Leila Lena Leo Lida Lina Linus Lola Lotte Luca Lucia Luis
Lukas Luna Mara Marco Maria Marta Max Mia Mika Mila Mina Mona Nadia Nia Nico Nina Nora Olaf Olga Oscar Otto
Pablo Paul Petra Pia Rafa Rita Rosa
"""
_FAMILY_NAMES = """
Abbot Adler Ahlberg Alder Arden Ashby Atwell Bach Baker Barlow Bauer Becker Berg Birch Blake Bloom Bolton
Brandt Brook Burton Carver Castro Chandler Cole Collier Conrad Cooper Costa Cramer Cross Dale Danek Dietz
Draper Dreyer Ebert Eklund Elder Ellis Engel Fabian Falk Farmer Fischer Fletcher Flores Ford Foster Frank
Frost Fuller Garcia Gardner Glover Grant Graves Green Grove Gruber Hahn Hale Hansen Harper Hart Haus Heath
Heller Hill Hoffman Holm Horn Hunter Ivers Jansen Jordan Kaiser Keller Kemp King Klein Koch Kovacs Kramer
Kruse Lamb Lang Larsen Lehmann Linde Lopez Lund Maier Marsh Martin Mason Mercer Meyer Miller Moore Moreno
Nagel Neumann Nolan North Novak Olsen Ortega Page Palmer Parker Perez Peters Porter Potter Quinn Reed Reyes
Richter Rivera Rose Roth Sanders Santos Sawyer Schmidt Shaw Silva Sommer
"""
_STREETS = """
Acorn Alder Amber Apple Ash Aspen Beacon Beech Birch Bridge Brook Canal Castle Cedar Chapel Cherry Church
Clover Copper Cotton Creek Dale Elm Falcon Fern Field Forest Garden Glen Granite Grove Harbour Hazel Heron
Hickory Hill Holly Iron Juniper Lake Lark Laurel Linden Maple Market Meadow Mill Oak Orchard Park Pearl Pine
Poplar Quarry River Robin Rose Spring Station Stone Valley Walnut Willow Winter
"""
GIVEN_NAMES = tuple(_GIVEN_NAMES.split())
FAMILY_NAMES = tuple(_FAMILY_NAMES.split())
STREETS = tuple(_STREETS.split())

FILLER = (
    "This text stands in the place of another one of the same length. The words that were here belonged "
    "to a person and have stayed where they were written. What you read instead was made for tests and "
    "for training, and it says nothing about anybody. It goes on for as long as the first text did and "
    "then it ends. "
)
