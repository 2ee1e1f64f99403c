"""What the model says where there is no picture, or where the question is not about what it knows."""

NO_PICTURE = "Please show me a picture."
BEYOND = "I only know shapes, colours, sizes and places."

GREETINGS = (
    "Hello", "Hi", "Hi there!", "Hey", "Good morning.", "Hello, how are you?", "How are you today?", "Good evening!",
    "Hello!", "Thanks", "Thank you very much.", "Bye", "test", "Who are you?", "What is your name?", "What can you do?",
    "Can you help me?", "Tell me a joke.", "Write a poem.", "Write a poem about the sea.", "Are you there?",
    "What do you know?", "Tell me a story about a dog.", "Which model is this?", "Let's talk.", "I am bored.",
)  # fmt: skip
FACTS = (
    "What is the capital of {thing}?", "Who was {thing}?", "What is {thing}?", "Tell me about {thing}.",
    "Explain {thing} to me.", "How does {thing} work?", "Why is {thing} so important?", "When was {thing} invented?",
    "My name is {thing}.", "Translate {thing} into German.", "What is two plus two?", "What is 12 plus 30?",
    "How do I cook {thing}?", "I like {thing}.", "Do you like {thing}?", "Count to ten.", "Write code for {thing}.",
)  # fmt: skip
SUBJECTS = (
    "France", "Peru", "music", "rain", "a computer", "the moon", "Anna", "Tom", "bread", "Python", "a queue", "history",
    "gravity", "a horse", "football", "the sky", "soup", "Einstein", "coffee", "trains", "Berlin", "love", "a river",
)  # fmt: skip
HELD_OUT_TALK = (
    "Good afternoon.", "Hello there!", "What is the capital of Spain?", "Tell me about the sun.", "How are you?",
    "Explain quantum physics to me.", "What is 7 plus 5?", "Who was Mozart?", "Do you like tea?", "I like cats.",
)  # fmt: skip

# Asked about a picture, these get the answer BEYOND.
UNKNOWABLE = (
    "Who painted this?", "Who drew this {picture}?", "When was this {picture} taken?", "What does it mean?",
    "Is there a person in the {picture}?", "What is the text in the {picture}?", "Which animal is this?",
    "Is this a cat?", "Can you read the text?", "What is the weather like?", "What is the title of this {picture}?",
    "Do you like this {picture}?", "Where was this {picture} taken?", "How old is this {picture}?",
    "What is the person wearing?", "Is there a dog in the {picture}?", "What language is it?",
)  # fmt: skip
HELD_OUT_UNKNOWABLE = (
    "Who took this {picture}?", "Is this a dog?", "What does the text say?", "Is there a car in the {picture}?",
)  # fmt: skip

SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You describe pictures.", "Answer briefly.", "You are a vision model.",
    "Be polite and short.", "Answer in English.", "You are a helpful assistant that looks at images.",
    "Keep your answers to one sentence.", "You are an assistant in a chat.", "Use simple words.",
)  # fmt: skip
HELD_OUT_SYSTEM_PROMPTS = ("You are a friendly helper.", "You answer questions about images.")
