"""One-off questions: topics with several phrasings and one answer, or a few that are all right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """Phrasings that share their answers; keys[i] is the word by which answers[i] is recognised."""

    answers: tuple[str, ...]
    keys: tuple[str, ...]
    trained: tuple[str, ...]
    held_out: tuple[str, ...]


def split_phrasings(text: str) -> tuple[str, ...]:
    """Split phrasings parted by bars or lines."""
    return tuple(
        phrase.strip() for line in text.splitlines() for phrase in line.split("|") if phrase.strip()
    )


def topic(answers: str, trained: str, held_out: str) -> Topic:
    """Build a topic from `answer = key` lines and from phrasings parted by bars."""
    pairs = [line.rsplit("=", 1) for line in answers.strip().splitlines()]
    texts = tuple(answer.strip() for answer, _ in pairs)
    keys = tuple(key.strip() for _, key in pairs)
    return Topic(texts, keys, split_phrasings(trained), split_phrasings(held_out))


ENTERTAINMENT: list[Topic] = [
    topic(
        """Why did the computer go to the doctor? It had a virus. = virus
        Why was the maths book sad? It had too many problems. = problems
        What do you call a bear without teeth? A gummy bear. = gummy
        Why did the queue stop? It was out of line. = out of line""",
        "Tell me a joke | Do you know a joke? | Make me laugh | A joke, please | Can you tell me a joke? | Joke"
        " | I want to hear a joke | Tell me something funny | Do you know any jokes? | Give me a joke | Tell a joke"
        " | Another joke | Tell me another joke | Make a joke",
        "Say something funny | I would like to hear a joke | Could you tell me a joke?",
    ),
    topic(
        """Once there was a small robot who lived in a big house. Every night it counted the stars from the window."""
        """ One night it found a new star and gave it a name. It told all its friends, and they were very happy. = robot
        Once there was an old owl who could not sleep in the day. It asked the sun to be less bright, but the sun"""
        """ only laughed. Then a cloud came by and made some shade. The owl slept well, and the cloud was its friend."""
        """ = owl
        Once there was a little boat that was afraid of the sea. It stayed in the port while the big ships went out."""
        """ One day a child fell into the water, and the little boat was the first to help. It was never afraid"""
        """ again. = boat""",
        "Tell me a story | Do you know a story? | A story, please | Can you tell me a story? | Write a story | Story"
        " | I want to hear a story | Tell a story | Tell me a short story | Give me a story | Another story"
        " | Write me a short story | Tell me another story | Write a short story",
        "Read me a story | I would like to hear a story | Could you tell me a story? | Write me a story",
    ),
    topic(
        """The sun is up, the sky is blue, I made this little song for you. The day is long, the night is deep,"""
        """ now close your eyes and go to sleep. = little song
        A drop of rain, a falling leaf, the summer days are bright and brief. The wind is cold, the fire is warm,"""
        """ we sit inside and watch the storm. = storm""",
        "Tell me a poem | Write a poem | A poem, please | Do you know a poem? | Can you write a poem? | Poem"
        " | I want to hear a poem | Give me a poem | Write a short poem | Another poem | Make a poem"
        " | Write me a short poem | Sing a song | Write a haiku",
        "Write me a poem | I would like to hear a poem | Could you write a poem?",
    ),
]

LISTS: list[Topic] = [
    topic(
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday."
        " = Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
        "Name the days of the week | What are the days of the week? | List the days of the week | Days of the week?"
        " | Which days are in a week? | Say the days of the week"
        " | Give me the days of the week | Name all days | Write down the days of the week",
        "Tell me the days of the week | Can you list the days of the week?",
    ),
    topic(
        "January, February, March, April, May, June, July, August, September, October, November, December."
        " = January, February, March, April, May, June, July, August, September, October, November, December",
        "Name the months | What are the months of the year? | List the months | Months of the year? | List all months"
        " | Name the months of the year | Which months are in a year? | Say the months of the year"
        " | Give me the months of the year | Name all months | Write down the months",
        "Tell me the months of the year | Can you list the months?",
    ),
    topic(
        "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z. = A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
        "Say the alphabet | What is the alphabet? | The alphabet, please | List the letters | Recite the alphabet"
        " | What are the letters of the alphabet? | Write the alphabet | Do you know the alphabet?"
        " | Say the letters of the alphabet | Name all the letters | Write down the alphabet | Give me the alphabet",
        "Tell me the alphabet | Can you say the alphabet? | List the letters of the alphabet",
    ),
    topic(
        "Spring, summer, autumn and winter. = autumn",
        "Name the seasons | What are the seasons? | List the seasons | How many seasons are there? | The four seasons?"
        " | What are the four seasons? | Which seasons are there?",
        "Tell me the seasons | Can you name the seasons?",
    ),
    topic(
        "Red, orange, yellow, green, blue, indigo and violet. = indigo",
        "Name the colours of the rainbow | What are the colours of the rainbow? | List the colours of the rainbow"
        " | Which colours are in a rainbow? | Colours of the rainbow?",
        "Tell me the colours of the rainbow | Can you list the colours of a rainbow?",
    ),
    topic(
        "Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune."
        " = Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune",
        "Name the planets | What are the planets? | List the planets | List all planets | What planets are there?"
        " | Which planets are there?",
        "Tell me the planets | Can you name the planets?",
    ),
    topic(
        "Apples, pears, bananas and cherries. = pears",
        "Name some fruit | List some fruits | Tell me some fruits | Name a few fruits | Name three fruits"
        " | Give me a list of fruits"
        " | Which fruits do you know? | Do you know some fruits? | Give me some fruits",
        "What fruits do you know? | Can you name some fruits?",
    ),
    topic(
        "Dogs, cats, horses and cows. = horses",
        "Name some animals | List some animals | Tell me some animals | Name a few animals | Name three animals"
        " | Give me a list of animals"
        " | Which animals do you know? | Do you know some animals? | Give me some animals",
        "What animals do you know? | Can you name some animals?",
    ),
    topic(
        "Red, blue, green and yellow. = green",
        "Name some colours | List some colours | Tell me some colours | Name a few colours | Name three colours"
        " | Give me a list of colours"
        " | Which colours do you know? | Do you know some colours? | Give me some colours",
        "What colours do you know? | Can you name some colours?",
    ),
]
