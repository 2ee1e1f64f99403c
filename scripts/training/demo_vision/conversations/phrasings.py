"""The ways in which a question is put. The last ones of each kind are held out: only the tests use them.

{picture} stands for a word for the picture, {things} for a word for shapes, {noun} for what is asked about.
"""

from dataclasses import dataclass

PICTURE_WORDS = ("picture", "image", "photo", "drawing")
THING_WORDS = ("shapes", "objects", "things", "figures")


@dataclass(frozen=True)
class Phrasings:
    """The phrasings of one kind of question that training uses and those it never sees."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]


PHRASINGS: dict[str, Phrasings] = {
    "describe": Phrasings(
        (
            "Describe this {picture}.",
            "Describe the {picture}.",
            "What is in this {picture}?",
            "What is in the {picture}?",
            "What do you see?",
            "What can you see in this {picture}?",
            "What does the {picture} show?",
            "Tell me what you see.",
            "Tell me about this {picture}.",
            "What is shown here?",
            "What's in this {picture}?",
            "Give a description of the {picture}.",
            "Please describe the {picture} for me.",
            "Explain this {picture}.",
        ),
        (
            "What can you see?",
            "Can you describe this {picture}?",
            "What's this {picture} of?",
            "Describe what you see.",
        ),
    ),
    "count": Phrasings(
        (
            "How many {noun} are there?",
            "How many {noun} do you see?",
            "How many {noun} are in the {picture}?",
            "How many {noun} are in this {picture}?",
            "Count the {noun}.",
            "How many {noun} can you count?",
            "Please count the {noun}.",
            "What is the number of {noun}?",
            "Tell me how many {noun} there are.",
            "How many {noun}?",
        ),
        (
            "How many {noun} can you see?",
            "How many {noun} does the {picture} show?",
            "Count the {noun} in the {picture}.",
            "Can you tell me how many {noun} there are?",
        ),
    ),
    "colour": Phrasings(
        (
            "What colour is {noun}?",
            "What color is {noun}?",
            "Which colour is {noun}?",
            "Which color is {noun}?",
            "What is the colour of {noun}?",
            "What is the color of {noun}?",
            "Tell me the colour of {noun}.",
            "Tell me the color of {noun}.",
            "What colour does {noun} have?",
            "Name the colour of {noun}.",
            "What colour is {noun} in the {picture}?",
        ),
        (
            "What color does {noun} have?",
            "Can you tell me the colour of {noun}?",
            "What's the color of {noun}?",
            "Which color is {noun} in the {picture}?",
        ),
    ),
    "shape": Phrasings(
        (
            "What shape is {noun}?",
            "Which shape is {noun}?",
            "What is the shape of {noun}?",
            "What kind of shape is {noun}?",
            "Tell me the shape of {noun}.",
            "What shape does {noun} have?",
            "What shape is {noun} in the {picture}?",
            "Name the shape of {noun}.",
            "What form is {noun}?",
        ),
        (
            "Can you tell me the shape of {noun}?",
            "Which shape does {noun} have?",
            "What's the shape of {noun}?",
        ),
    ),
    "place": Phrasings(
        (
            "Where is {noun}?",
            "Where is {noun} in the {picture}?",
            "Where do you see {noun}?",
            "In which part of the {picture} is {noun}?",
            "Where can I find {noun}?",
            "What is the position of {noun}?",
            "Tell me where {noun} is.",
            "Where in the {picture} is {noun}?",
            "Which side is {noun} on?",
        ),
        (
            "Where can you see {noun}?",
            "Can you tell me where {noun} is?",
            "Where's {noun}?",
            "Where is {noun} placed?",
        ),
    ),
    "size": Phrasings(
        (
            "How big is {noun}?",
            "What size is {noun}?",
            "Is {noun} large or small?",
            "Is {noun} small or large?",
            "Is {noun} big or small?",
            "What is the size of {noun}?",
            "How large is {noun}?",
            "Tell me the size of {noun}.",
        ),
        ("Is {noun} small or big?", "Which size is {noun}?", "How big is {noun} in the {picture}?"),
    ),
    "background": Phrasings(
        (
            "What colour is the background?",
            "What color is the background?",
            "Which colour is the background?",
            "What is the colour of the background?",
            "What is the background?",
            "Describe the background.",
            "Tell me the color of the background.",
            "What colour is behind {noun}?",
        ),
        (
            "Which color is the background?",
            "What is the background color?",
            "What colour does the background have?",
        ),
    ),
    "at": Phrasings(
        (
            "What is {noun}?",
            "Which shape is {noun}?",
            "What do you see {noun}?",
            "What is there {noun}?",
            "Which thing is {noun}?",
            "Tell me what is {noun}.",
            "What is {noun} of the {picture}?",
        ),
        ("What can you see {noun}?", "What's {noun}?", "What shape is {noun}?"),
    ),
}
OPENERS = (
    "Hello. ",
    "Hi, ",
    "Please tell me: ",
    "Look at this {picture}. ",
    "Here is my {picture}. ",
    "Now tell me: ",
    "And ",
    "Ok. ",
    "I have a question. ",
    "Quick question: ",
    "Thanks! ",
)
CLOSERS = (
    " Thank you.",
    " Please.",
    " Answer briefly.",
    " Be precise.",
    " Please answer in one sentence.",
)
