"""Tables of common knowledge about places and things: the facts that the model is to learn by heart."""

from .text import parse_rows

# country | capital | continent | main language
COUNTRIES = parse_rows("""
France | Paris | Europe | French; Germany | Berlin | Europe | German; Spain | Madrid | Europe | Spanish
Italy | Rome | Europe | Italian; Portugal | Lisbon | Europe | Portuguese; Greece | Athens | Europe | Greek
Poland | Warsaw | Europe | Polish; Austria | Vienna | Europe | German; Hungary | Budapest | Europe | Hungarian
Sweden | Stockholm | Europe | Swedish; Norway | Oslo | Europe | Norwegian; Denmark | Copenhagen | Europe | Danish
Finland | Helsinki | Europe | Finnish; Iceland | Reykjavik | Europe | Icelandic; Ireland | Dublin | Europe | English
Romania | Bucharest | Europe | Romanian; Bulgaria | Sofia | Europe | Bulgarian; Serbia | Belgrade | Europe | Serbian
Croatia | Zagreb | Europe | Croatian; Ukraine | Kyiv | Europe | Ukrainian; Estonia | Tallinn | Europe | Estonian
Latvia | Riga | Europe | Latvian; Albania | Tirana | Europe | Albanian; Slovakia | Bratislava | Europe | Slovak
Slovenia | Ljubljana | Europe | Slovene; Japan | Tokyo | Asia | Japanese; China | Beijing | Asia | Chinese
India | New Delhi | Asia | Hindi; Thailand | Bangkok | Asia | Thai; Vietnam | Hanoi | Asia | Vietnamese
Turkey | Ankara | Asia | Turkish; Iran | Tehran | Asia | Persian; Iraq | Baghdad | Asia | Arabic
Nepal | Kathmandu | Asia | Nepali; Mongolia | Ulaanbaatar | Asia | Mongolian; Indonesia | Jakarta | Asia | Indonesian
South Korea | Seoul | Asia | Korean; Jordan | Amman | Asia | Arabic; Pakistan | Islamabad | Asia | Urdu
Egypt | Cairo | Africa | Arabic; Morocco | Rabat | Africa | Arabic; Tunisia | Tunis | Africa | Arabic
Kenya | Nairobi | Africa | Swahili; Ghana | Accra | Africa | English; Nigeria | Abuja | Africa | English
Ethiopia | Addis Ababa | Africa | Amharic; Senegal | Dakar | Africa | French; Uganda | Kampala | Africa | English
Canada | Ottawa | North America | English; Mexico | Mexico City | North America | Spanish
Cuba | Havana | North America | Spanish; Jamaica | Kingston | North America | English
Brazil | Brasilia | South America | Portuguese; Argentina | Buenos Aires | South America | Spanish
Chile | Santiago | South America | Spanish; Peru | Lima | South America | Spanish
Colombia | Bogota | South America | Spanish; Uruguay | Montevideo | South America | Spanish
Ecuador | Quito | South America | Spanish; Australia | Canberra | Australia | English
England | London | Europe | English; Scotland | Edinburgh | Europe | English
""")

# thing | colour
COLOURS_OF_THINGS = parse_rows("""
the sky | blue; the sea | blue; grass | green; a leaf | green; a frog | green; a pea | green; a cucumber | green
a lime | green; spinach | green; snow | white; milk | white; salt | white; sugar | white; a cloud | white
a swan | white; a polar bear | white; coal | black; a raven | black; the night | black; blood | red; a tomato | red
a cherry | red; a strawberry | red; a fire engine | red; a ladybird | red; a banana | yellow; a lemon | yellow
the sun | yellow; butter | yellow; a sunflower | yellow; an orange | orange; a carrot | orange; a pumpkin | orange
chocolate | brown; wood | brown; coffee | brown; a plum | purple; lavender | purple; an elephant | grey; a mouse | grey
a flamingo | pink; a pig | pink
""")

# thing | kind
KINDS = parse_rows("""
a carrot | vegetable; a potato | vegetable; an onion | vegetable; a cabbage | vegetable; an apple | fruit
a banana | fruit; a pear | fruit; a grape | fruit; a dog | mammal; a whale | mammal; a horse | mammal; a bat | mammal
a cow | mammal; an eagle | bird; an owl | bird; a penguin | bird; a parrot | bird; a salmon | fish; a shark | fish
a trout | fish; a snake | reptile; a lizard | reptile; a turtle | reptile; an ant | insect; a bee | insect
a butterfly | insect; a rose | flower; a tulip | flower; a daisy | flower; an oak | tree; a pine | tree; a hammer | tool
a saw | tool; a piano | musical instrument; a violin | musical instrument; a guitar | musical instrument
a drum | musical instrument; a car | vehicle; a bus | vehicle; a bicycle | vehicle; a train | vehicle; Mars | planet
Venus | planet; Saturn | planet; gold | metal; iron | metal; silver | metal; oxygen | gas; hydrogen | gas; chess | game
football | sport; tennis | sport; Python | programming language; Java | programming language
""")

# what one wants to do | what one uses
TOOLS = parse_rows("""
cut paper | scissors; write a letter | a pen; dig a hole | a spade; hit a nail | a hammer; eat soup | a spoon
take a photo | a camera; tell the time | a clock; open a door | a key; sweep the floor | a broom; cut bread | a knife
brush my teeth | a toothbrush; look at the stars | a telescope; draw a straight line | a ruler; boil water | a kettle
light a dark room | a lamp; call a friend | a phone; stay dry in the rain | an umbrella; comb my hair | a comb
measure the temperature | a thermometer; cut wood | a saw; sew a button | a needle; find north | a compass
dry my hands | a towel; paint a wall | a brush; climb onto the roof | a ladder
""")

# units counted | in what | how many
AMOUNTS = parse_rows("""
minutes | an hour | 60; seconds | a minute | 60; hours | a day | 24; days | a week | 7; months | a year | 12
days | a year | 365; weeks | a year | 52; years | a century | 100; years | a decade | 10; metres | a kilometre | 1000
grams | a kilogram | 1000; centimetres | a metre | 100; bits | a byte | 8; eggs | a dozen | 12; cents | a dollar | 100
letters | the alphabet | 26; players | a football team | 11; strings | a violin | 4; sides | a triangle | 3
sides | a square | 4; sides | a pentagon | 5; sides | a hexagon | 6; sides | an octagon | 8; wheels | a bicycle | 2
wheels | a car | 4; colours | a rainbow | 7; fingers | a hand | 5; planets | the solar system | 8
""")

DEFINITIONS = parse_rows("""
queue | a line of things that wait their turn; cache | a store of results that can be used again
token | a small piece of text; prompt | the text that you give to a model; batch | a group of jobs done together
server | a program that answers requests; client | a program that sends requests
model | a program that learned from examples; worker | a program that takes jobs from a queue
stream | data that arrives piece by piece; database | a place that keeps data in order
network | computers that are joined together; byte | a group of eight bits; bit | a zero or a one
file | a named piece of data; bug | a mistake in a program; loop | a part of a program that repeats
variable | a name for a value; password | a secret word that opens an account
browser | a program that shows web pages; robot | a machine that works by itself; log | a record of what happened
timeout | a limit on how long to wait; backup | a second copy of your data; desert | a dry place with little rain
island | land with water all around it; forest | a place with many trees; doctor | a person who helps sick people
teacher | a person who helps others learn; baker | a person who makes bread; farmer | a person who grows food
library | a house full of books; museum | a house that shows old and fine things
volcano | a mountain that throws out fire; river | water that flows to the sea; mountain | a very high hill
""")
