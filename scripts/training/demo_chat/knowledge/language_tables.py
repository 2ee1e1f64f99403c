"""Tables of common knowledge about words, animals and the calendar."""

from .text import parse_rows, parse_words

# each word is the other's opposite; no word stands in two rows, so that both directions have one answer
OPPOSITES = parse_rows("""
hot | cold; big | small; up | down; left | right; day | night; fast | slow; old | young; happy | sad; open | closed
full | empty; light | dark; good | bad; rich | poor; strong | weak; high | low; long | short; wet | dry; early | late
easy | hard; loud | quiet; clean | dirty; near | far; thick | thin; first | last; start | end; push | pull; true | false
win | lose; buy | sell; give | take; love | hate; inside | outside; before | after; always | never; black | white
alive | dead; sweet | sour; wide | narrow; deep | shallow; question | answer; north | south; east | west; on | off
safe | dangerous; awake | asleep; smooth | rough; summer | winter; friend | enemy; yes | no; above | below
""")

# animal | its young | its sound | its home ('-' where there is no usual word)
ANIMALS = parse_rows("""
dog | puppy | woof | kennel; cat | kitten | meow | house; cow | calf | moo | barn; horse | foal | neigh | stable
sheep | lamb | baa | meadow; pig | piglet | oink | sty; duck | duckling | quack | pond; lion | cub | roar | savanna
frog | tadpole | croak | pond; bee | - | buzz | hive; snake | - | hiss | -; mouse | - | squeak | hole
owl | owlet | hoot | forest; bear | cub | growl | forest; goat | kid | - | mountains; deer | fawn | - | forest
kangaroo | joey | - | grassland; goose | gosling | honk | -; hen | chick | cluck | coop; swan | cygnet | - | lake
camel | - | - | desert; whale | calf | - | sea; rabbit | - | - | burrow; monkey | - | - | jungle; spider | - | - | web
bat | pup | - | cave; fox | - | - | den; crow | - | caw | nest; seal | pup | - | sea; penguin | chick | - | snow
""")

# animal with its article | legs in words
LEGS = parse_rows("""
a dog | four; a cat | four; a horse | four; a cow | four; an elephant | four; a bird | two; a hen | two; a duck | two
a spider | eight; an octopus | no; an ant | six; a bee | six; a fly | six; a beetle | six; a crab | ten; a snake | no
a fish | no; a worm | no; a person | two; a frog | four
""")

PLURALS = parse_rows("""
mouse | mice; child | children; foot | feet; tooth | teeth; man | men; woman | women; goose | geese; knife | knives
leaf | leaves; wolf | wolves; box | boxes; city | cities; baby | babies; sheep | sheep; ox | oxen; cat | cats
dog | dogs; bus | buses; potato | potatoes; person | people; half | halves; story | stories; day | days; key | keys
wife | wives; berry | berries; fox | foxes; glass | glasses; loaf | loaves; tomato | tomatoes
""")

PAST_TENSES = parse_rows("""
go | went; eat | ate; see | saw; run | ran; come | came; take | took; give | gave; write | wrote; speak | spoke
drink | drank; sing | sang; swim | swam; buy | bought; think | thought; bring | brought; catch | caught; teach | taught
make | made; find | found; sleep | slept; keep | kept; feel | felt; leave | left; lose | lost; know | knew; grow | grew
fly | flew; drive | drove; break | broke; choose | chose; forget | forgot; fall | fell; sit | sat; win | won
walk | walked; play | played; work | worked; jump | jumped; look | looked; call | called
""")

DAYS = parse_words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = parse_words(
    "January February March April May June July August September October November December"
)
MONTH_LENGTHS = dict(zip(MONTHS, parse_words("31 28 31 30 31 30 31 31 30 31 30 31"), strict=True))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

SPELLING_WORDS = parse_words("""
cat dog house tree water table chair apple river stone bread milk green black white yellow orange
happy summer winter morning friend school book paper pencil window garden flower mother father sister brother animal
horse sheep mouse fish bird cloud rain snow star moon sun light night day week month year time hand foot head heart eye
nose ear mouth city road train plane ship bridge music song dance word letter number question answer computer screen
server token queue thread cache model batch stream message robot planet mountain ocean island forest desert king queen
doctor teacher farmer cook money game story
""")

COLOUR_NAMES = parse_words(
    "red blue green yellow orange purple pink brown black white grey gold silver turquoise violet"
)

# Names that the training corpus uses for people and pets; many more are made up, so that the model learns to copy.
NAMES = parse_words("""
Ada Adam Ahmed Aisha Akira Alan Alex Ali Alice Amara Amy Ana Andrea Andrew Anna Anton Arthur Ben Bella Bob
Boris Brian Bruno Carl Carmen Carol Chen Chloe Clara Colin Daisy Dan Daniel David Dev Diana Dora Edgar Elena Elias Ella
Emil Emily Emma Eric Esther Eva Farid Fatima Felix Finn Fiona Frank Fred Gail George Grace Greta Gus Hana Hannah Harry
Helen Henry Hiro Hugo Ian Ida Igor Ingrid Irene Iris Isaac Ivan Jack James Jamal Jan Jane Jason Jim Joan Joe John Julia
Karen Karl Kate Keith Kim Kofi Kurt Lara Laura Leila Lena Leo Lily Linda Lisa Lou Lucas Lucy Luis Mara Marco Maria Mark
Marta Martin Mary Max Mei Mia Michael Milo Mona Nadia Ned Nina Noah Nora Omar Oscar Otto Owen Pam Paul Peter Petra Phil
Priya Rachel Ralph Ravi Rita Robert Rosa Ruth Sam Sana Sandra Sara Simon Sofia Stella Steve Susan Tanya Tariq Ted Theo
Tim Tina Tom Vera Victor Viola Walter Wanda Wendy Will Yara Yuki Zara Zoe
""")
HELD_OUT_NAMES = parse_words("""
Agnes Albert Barbara Bernard Carla Casper Dennis Doris Edwin Elsa Erik Fanny Gloria Gordon Harold
Heidi Ines Jonas Judith Kevin Klara Leon Louis Magda Martha Monica Nelson Oliver Olga Pedro Rebecca Roland Rupert
Sabine Selma Stefan Thomas Valentin Vincent Yvonne
""")
