"""Everyday facts that fit no table: an answer with its key word, trained phrasings, held-out phrasings."""

from .topics import Topic, topic

_FACTS = """
The Earth goes around the Sun. = Sun
What does the Earth go around? | What does the Earth orbit? | The Earth moves around what? | The Earth orbits what?
Tell me what the Earth goes around
---
The Moon goes around the Earth. = Earth
What does the Moon go around? | What does the Moon orbit? | The Moon moves around what? | The Moon orbits what?
Tell me what the Moon goes around
---
The largest planet is Jupiter. = Jupiter
What is the largest planet? | Which planet is the largest? | Name the biggest planet | What is the biggest planet?
Tell me the largest planet | Which planet is the biggest?
---
The smallest planet is Mercury. = Mercury
What is the smallest planet? | Name the smallest planet | The smallest planet? | What planet is the smallest?
Tell me the smallest planet | Which planet is the smallest?
---
The red planet is Mars. = Mars
Which planet is red? | What is the red planet? | Name the red planet | What planet is red? | The red planet?
Tell me which planet is red
---
Water freezes at 0 degrees. = 0
When does water freeze? | At what temperature does water freeze? | Freezing point of water? | How cold is ice?
Tell me when water freezes | What is the freezing point of water?
---
Water boils at 100 degrees. = 100
When does water boil? | At what temperature does water boil? | Boiling point of water? | How hot is boiling water?
Tell me when water boils | What is the boiling point of water?
---
Ice is frozen water. = water
What is ice? | What is ice made of? | Explain what ice is | Ice is made of what? | What's ice?
Tell me what ice is
---
Bread is made from flour. = flour
What is bread made from? | What is bread made of? | How do you make bread? | Bread is made of what?
Tell me what bread is made of
---
Cheese is made from milk. = milk
What is cheese made from? | What is cheese made of? | How do you make cheese? | Cheese is made of what?
Tell me what cheese is made of
---
Wine is made from grapes. = grapes
What is wine made from? | What is wine made of? | How do you make wine? | Wine is made of what?
Tell me what wine is made of
---
Honey is made by bees. = bees
Who makes honey? | Where does honey come from? | What makes honey? | Which animal makes honey? | How is honey made?
Tell me who makes honey
---
Milk comes from cows. = cows
Where does milk come from? | Who gives us milk? | Which animal gives milk? | What gives us milk?
Tell me where milk comes from
---
Eggs come from hens. = hens
Where do eggs come from? | Who lays eggs? | Which animal lays the eggs we eat? | What lays eggs?
Tell me where eggs come from
---
Wool comes from sheep. = sheep
Where does wool come from? | Who gives us wool? | Which animal gives wool? | What gives us wool?
Tell me where wool comes from
---
Paper is made from wood. = wood
What is paper made from? | What is paper made of? | How do you make paper? | Paper is made of what?
Tell me what paper is made of
---
Glass is made from sand. = sand
What is glass made from? | What is glass made of? | How do you make glass? | Glass is made of what?
Tell me what glass is made of
---
The tallest animal is the giraffe. = giraffe
What is the tallest animal? | Name the tallest animal | What animal is the tallest? | The tallest animal?
Tell me the tallest animal | Which animal is the tallest?
---
The fastest animal on land is the cheetah. = cheetah
What is the fastest animal on land? | Which animal is the fastest? | Name the fastest animal | The fastest animal?
Tell me the fastest animal | What animal is the fastest?
---
The largest animal is the blue whale. = whale
What is the largest animal? | Which animal is the largest? | What is the biggest animal? | The largest animal?
Tell me the largest animal | Which animal is the biggest?
---
The largest ocean is the Pacific. = Pacific
What is the largest ocean? | Which ocean is the largest? | Name the biggest ocean | What is the biggest ocean?
Tell me the largest ocean | Which ocean is the biggest?
---
The highest mountain is Mount Everest. = Everest
What is the highest mountain? | Name the highest mountain | What is the tallest mountain? | The highest mountain?
Tell me the highest mountain | Which mountain is the highest?
---
The largest country is Russia. = Russia
What is the largest country? | Which country is the largest? | What is the biggest country? | The largest country?
Tell me the largest country | Which country is the biggest?
---
Plants need light and water. = light
What do plants need? | What does a plant need to grow? | How do plants grow? | What do I give my plant?
Tell me what plants need
---
There are seven continents. = seven
How many continents are there? | What is the number of continents? | Number of continents? | Count the continents
Tell me how many continents there are
---
The sun rises in the east. = east
Where does the sun rise? | In which direction does the sun rise? | Where does the sun come up?
Tell me where the sun rises
---
The sun sets in the west. = west
Where does the sun set? | In which direction does the sun set? | Where does the sun go down?
Tell me where the sun sets
---
People have two eyes. = two
How many eyes do people have? | How many eyes do I have? | How many eyes does a person have? | Number of eyes?
Tell me how many eyes people have
---
Red and yellow make orange. = orange
What do red and yellow make? | Mix red and yellow | What colour do you get from red and yellow?
Tell me what red and yellow make | What is red and yellow mixed?
---
Blue and yellow make green. = green
What do blue and yellow make? | Mix blue and yellow | What colour do you get from blue and yellow?
Tell me what blue and yellow make | What is blue and yellow mixed?
---
Red and blue make purple. = purple
What do red and blue make? | Mix red and blue | What colour do you get from red and blue?
Tell me what red and blue make | What is red and blue mixed?
---
Fire is hot. = hot
Is fire hot or cold? | Is fire hot? | Is fire cold? | How is fire? | Tell me if fire is hot
Do you know if fire is hot?
---
The first month is January. = January
What is the first month of the year? | Which month is first? | The first month? | Name the first month
Tell me the first month of the year
---
The last month is December. = December
What is the last month of the year? | Which month is last? | The last month? | Name the last month
Tell me the last month of the year
---
Christmas is in December. = December
When is Christmas? | In which month is Christmas? | What month is Christmas in? | Christmas is when?
Tell me when Christmas is
---
We see with our eyes. = eyes
What do we see with? | What do you need to see? | With what do we see? | Which part of the body sees?
Tell me what we see with
---
We hear with our ears. = ears
What do we hear with? | What do you need to hear? | With what do we hear? | Which part of the body hears?
Tell me what we hear with
---
We smell with our nose. = nose
What do we smell with? | What do you need to smell? | With what do we smell? | Which part of the body smells?
Tell me what we smell with
---
Trees drop their leaves in autumn. = autumn
When do leaves fall? | When do trees drop their leaves? | In which season do leaves fall? | When do trees lose leaves?
Tell me when leaves fall
---
Snow falls in winter. = winter
When does snow fall? | In which season does snow fall? | When does it snow? | In which season is it cold?
Tell me when snow falls
"""


def _parse(block: str) -> Topic:
    answer, *trained, held_out = block.strip().splitlines()
    return topic(answer, "\n".join(trained), held_out)


SINGLE_FACTS: list[Topic] = [_parse(block) for block in _FACTS.split("---")]
