"""What can truly be said about a painted scene: regions, counts, relations and captions."""

from collections import Counter

from finevit.contracts import Region


def tell(dice, plan, painting, things):
    def norm(b):
        return (b[0] / plan.width, b[1] / plan.height, b[2] / plan.width, b[3] / plan.height)

    regions = tuple(
        Region(norm(o.box), "object", things[o.placement.thing].name, class_id=o.placement.thing)
        for o in painting.objects
    )
    regions += tuple(Region(norm(b), "text_line", text=p.writing.text) for p, b in painting.lines)
    counts = Counter(r.phrase for r in regions if r.kind == "object")
    return {"long": "a scene", "short": "a scene"}, regions, {"counts": dict(counts), "relations": []}
