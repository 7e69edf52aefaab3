"""The text that the tiny tokenizers are trained on, written for this purpose.

Everyday English of the kinds that the workloads carry (reviews, reports, questions, captions, prompts), so that such
text splits into about as many tokens per word as with a real tokenizer. It teaches the models nothing: their weights
are random.
"""

CORPUS = (
    "The film was a quiet surprise: the acting is honest, the story is simple, and the ending made me smile.",
    "I did not like this book. The plot is slow, the people in it are cold, and the last chapter is a disappointment.",
    "The train from Paris to Lyon was late again, but the staff were friendly and we arrived in time for dinner.",
    "Marie Curie was born in Warsaw in 1867. She moved to Paris, studied physics and chemistry, and won two prizes.",
    "A new report says that the city council has approved a plan to build a park beside the river next year.",
    "Scientists measured how much energy the machines use, and they found that a few tasks need most of the power.",
    "Energy is measured in joules and power in watts. One watt is one joule in one second, and so on for an hour.",
    "Where does the river begin? Who wrote the letter? When was the bridge opened, and how long did the work take?",
    "The answer to the question is in the following text. Find the answer and write it down.",
    "Summarize the following text: the storm reached the coast on Monday evening and left thousands without light.",
    "What is the sentiment of the following sentence? The sentiment is positive. The sentiment is negative.",
    "The company said on Thursday that sales rose by seven percent, after a weak summer, because prices had fallen.",
    "A brown dog is running across a green field with a red ball in its mouth, while two children are watching.",
    "Two people are sitting on a wooden bench in front of an old house. A cat is sleeping on the window.",
    "A painting of a small boat on a calm lake at sunset, soft light, warm colours, high detail, wide view.",
    "A photograph of a mountain village in winter, snow on the roofs, blue sky, long shadows in the morning.",
    "The weather will be dry and sunny tomorrow in the north, with some rain and strong wind in the south.",
    "She opened the door, looked at the garden, and thought about what her mother had said the night before.",
    "The doctor told him to drink more water, to walk for an hour every day, and to come back in two weeks.",
    "Our team played well in the first half, but the other side scored twice near the end and took the game.",
    "To make the soup, cut the onions and the carrots, cook them slowly in butter, and add salt and hot water.",
    "Computers answer questions, translate languages, describe pictures and write text, and each answer costs energy.",
    "The government wants to reduce emissions by half before the year 2035, and it has asked for new ideas.",
    "Please send me the documents by Friday, and let me know if you need anything else from our side. Thank you.",
    "sports politics business science technology health music travel food weather history art nature positive negative",
)
